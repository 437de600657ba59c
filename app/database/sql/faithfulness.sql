-- One row per (model, step, method, game, score): areas over prompts, seeds averaged first; step -1 = mean over steps.
-- gain is the area minus that of a random map on the same sample; inverse_gain likewise for the inverse map.
WITH chosen AS (
    SELECT f.model_id, f.prompt_id, f.step, f.method, f.game, f.score,
           f.auc, f.auc_scaled, f.auc_random, f.auc_inverse
    FROM faithfulness AS f JOIN sample AS s USING (sample_id)
    JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = f.prompt_id
    WHERE f.model_id IN $models AND s.seed IN $seeds AND f.score = $score AND f.baseline = $baseline
),
unit AS (
    SELECT model_id, step, method, game, prompt_id, avg(auc) AS auc, avg(auc_scaled) AS auc_scaled,
           avg(auc_random) AS auc_random, avg(auc_inverse) AS auc_inverse,
           avg(auc - auc_random) AS gain, avg(auc_inverse - auc_random) AS inverse_gain
    FROM chosen GROUP BY ALL
    UNION ALL
    SELECT model_id, -1, method, game, prompt_id, avg(auc), avg(auc_scaled), avg(auc_random), avg(auc_inverse),
           avg(auc - auc_random), avg(auc_inverse - auc_random)
    FROM chosen GROUP BY ALL
)
SELECT model_id, step, method, game, count(*)::INTEGER AS prompts,
       avg(auc) AS auc, stddev_samp(auc) AS auc_sd, avg(auc_scaled) AS auc_scaled,
       avg(auc_random) AS auc_random, avg(auc_inverse) AS auc_inverse,
       avg(gain) AS gain, stddev_samp(gain) AS gain_sd,
       avg(inverse_gain) AS inverse_gain, stddev_samp(inverse_gain) AS inverse_gain_sd
FROM unit GROUP BY ALL ORDER BY model_id, method, game, step
