-- One row per (model, prompt, seed, base, concept, direction, step): an image of a prompt switch, and whether it has the concept
-- (1, 0, NULL = not known) by each view: judge, contrast (at the last step, as in emergence), preference (closer to the prompt than
-- to its base). family: what the pair is said to differ in, else the concept's family. Always by the first scorer.
SELECT w.model_id, w.prompt_id, s.seed, w.base, w.direction, w.step,
       coalesce(nullif(w.differs, ''), k.family, 'prompt') AS family, coalesce(k.name, '') AS concept,
       w.judged::DOUBLE AS judge,
       (w.similarity - c.baseline[len(c.baseline)] > c.threshold[len(c.threshold)])::INTEGER::DOUBLE AS contrast,
       (w.preference > 0)::INTEGER::DOUBLE AS preference
FROM switch AS w JOIN sample AS s ON s.sample_id = w.sample_id
JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = w.prompt_id
LEFT JOIN concept AS k ON k.family || '/' || k.name = w.concept
LEFT JOIN main.contrast AS c ON c.model_id = w.model_id AND c.concept_id = k.concept_id
WHERE w.model_id IN $models AND s.seed IN $seeds AND (k.concept_id IS NULL OR k.concept_id IN $concepts)
ORDER BY w.model_id, w.prompt_id, s.seed, w.base, concept, w.direction, w.step
