-- One row per (model, method, game, score, baseline, prompt): areas, seeds and steps averaged.
SELECT f.model_id, f.method, f.game, f.score, f.baseline, f.prompt_id, avg(f.auc)::DOUBLE AS auc,
       avg(f.auc_scaled)::DOUBLE AS scaled, avg(f.auc_random)::DOUBLE AS random, avg(f.auc_inverse)::DOUBLE AS inverse
FROM faithfulness AS f JOIN sample AS s USING (sample_id)
JOIN scoped_prompt($categories, $slice) AS p ON p.prompt_id = f.prompt_id
WHERE f.model_id IN $models AND s.seed IN $seeds
GROUP BY ALL ORDER BY f.model_id, f.method, f.game, f.score, f.baseline, f.prompt_id
