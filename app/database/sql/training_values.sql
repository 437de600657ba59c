-- One row per (model, concept, prompt that names it): the final similarity, seeds averaged; unnamed_mean and unnamed: the mean
-- of the same model and concept over the prompts within the filters that do not name it, and how many these are.
WITH value AS (
    SELECT t.model_id, t.concept_id, t.prompt_id, avg(t.final)::DOUBLE AS final
    FROM trajectory AS t JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    WHERE t.model_id IN $models AND t.concept_id IN $concepts AND t.seed IN $seeds
    GROUP BY ALL
),
marked AS (
    SELECT v.*, m.prompt_id IS NOT NULL AS named
    FROM value AS v LEFT JOIN mention AS m USING (prompt_id, concept_id)
),
unnamed AS (
    SELECT model_id, concept_id, avg(final) AS unnamed_mean, count(*)::INTEGER AS unnamed
    FROM marked WHERE NOT named GROUP BY ALL
)
SELECT v.model_id, v.concept_id, v.prompt_id, round(v.final, 8) AS final, u.unnamed_mean, coalesce(u.unnamed, 0) AS unnamed
FROM marked AS v LEFT JOIN unnamed AS u USING (model_id, concept_id)
WHERE v.named
ORDER BY v.model_id, v.concept_id, v.prompt_id
