-- One row per (model, method, game, score, point): mean curve over prompts; seeds and steps averaged within a prompt.
WITH point AS (
    SELECT f.model_id, f.prompt_id, f.method, f.game, f.score, len(f.curve) - 1 AS last,
           unnest(f.curve) AS value, generate_subscripts(f.curve, 1) - 1 AS point
    FROM faithfulness AS f JOIN sample AS s USING (sample_id) JOIN prompt AS p ON p.prompt_id = f.prompt_id
    WHERE f.model_id IN $models AND s.seed IN $seeds AND p.category IN $categories
      AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[])))
),
unit AS (
    SELECT model_id, method, game, score, prompt_id, point / greatest(last, 1) AS fraction, avg(value) AS value
    FROM point GROUP BY ALL
)
SELECT model_id, method, game, score, fraction::DOUBLE AS fraction, count(*)::INTEGER AS prompts,
       avg(value)::DOUBLE AS mean, stddev_samp(value)::DOUBLE AS sd
FROM unit GROUP BY ALL ORDER BY model_id, method, game, score, fraction
