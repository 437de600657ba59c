-- One row per (model, family, step): ConceptAttention, the mean share of the image of the concepts of a family that a prompt names, of
-- those that it does not name, and the difference; seeds and concepts averaged within a prompt first. Only prompts that name some
-- concept of the family, and not all, count.
WITH point AS (
    SELECT a.model_id, a.prompt_id, c.family, m.prompt_id IS NOT NULL AS named, unnest(a.steps) AS step, unnest(a.share) AS share
    FROM concept_attention AS a JOIN sample AS s ON s.sample_id = a.sample_id
    JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = a.prompt_id
    JOIN concept AS c ON c.family || '/' || c.name = a.concept
    LEFT JOIN mention AS m ON m.prompt_id = a.prompt_id AND m.concept_id = c.concept_id
    WHERE a.model_id IN $models AND s.seed IN $seeds AND a.layer_group = $layer_group
),
unit AS (
    SELECT model_id, prompt_id, family, step, avg(share) FILTER (named) AS named, avg(share) FILTER (NOT named) AS unnamed
    FROM point GROUP BY ALL
)
SELECT model_id, family, step, count(*)::INTEGER AS prompts, avg(named) AS named, avg(unnamed) AS unnamed,
       avg(named - unnamed) AS mean, stddev_samp(named - unnamed) AS sd
FROM unit WHERE named IS NOT NULL AND unnamed IS NOT NULL GROUP BY ALL ORDER BY model_id, family, step
