-- One row per (model, method, game, point): mean curve over prompts; steps and seeds averaged within a prompt first.
WITH point AS (
    SELECT f.model_id, f.prompt_id, f.method, f.game, unnest(f.curve) AS value,
           (generate_subscripts(f.curve, 1) - 1) / greatest(len(f.curve) - 1, 1) AS fraction
    FROM faithfulness AS f JOIN sample AS s USING (sample_id)
    JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = f.prompt_id
    WHERE f.model_id IN $models AND s.seed IN $seeds AND f.score = $score AND f.baseline = $baseline
),
unit AS (
    SELECT model_id, method, game, fraction, prompt_id, avg(value) AS value FROM point GROUP BY ALL
)
SELECT model_id, method, game, fraction, count(*)::INTEGER AS prompts, avg(value) AS mean, stddev_samp(value) AS sd
FROM unit GROUP BY ALL ORDER BY model_id, method, game, fraction
