-- One row per check of a new snapshot: what it is, and how many rows break it (0 = good).
SELECT 'samples planned, done, failed and missing add up' AS name, count(*) AS bad FROM study
WHERE done_samples + failed_samples > planned_samples
   OR done_samples <> (SELECT count(*) FROM sample WHERE status = 'done')
   OR failed_samples <> (SELECT count(*) FROM sample WHERE status = 'failed')
UNION ALL
SELECT 'a (model, prompt, seed) has one sample', count(*) FROM (
    SELECT 1 FROM sample GROUP BY model_id, prompt_id, seed HAVING count(*) > 1)
UNION ALL
SELECT 'every done sample has a trajectory per concept', count(*) FROM (
    SELECT sample_id FROM sample LEFT JOIN trajectory USING (sample_id)
    WHERE status = 'done' GROUP BY sample_id
    HAVING count(concept_id) <> (SELECT count(*) FROM concept))
UNION ALL
SELECT 'a (sample, concept) has one trajectory', count(*) FROM (
    SELECT 1 FROM trajectory GROUP BY sample_id, concept_id HAVING count(*) > 1)
UNION ALL
SELECT 'models of samples exist', count(*) FROM sample ANTI JOIN model USING (model_id)
UNION ALL
SELECT 'prompts of samples exist', count(*) FROM sample ANTI JOIN prompt USING (prompt_id)
UNION ALL
SELECT 'samples of trajectories exist', count(*) FROM trajectory ANTI JOIN sample USING (sample_id, model_id, prompt_id, seed)
UNION ALL
SELECT 'concepts of trajectories exist', count(*) FROM trajectory ANTI JOIN concept USING (concept_id)
UNION ALL
SELECT 'samples of frames exist', count(*) FROM frame ANTI JOIN sample USING (sample_id)
UNION ALL
SELECT 'samples of token_attention exist', count(*) FROM token_attention ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of explanations exist', count(*) FROM explanation ANTI JOIN sample USING (sample_id)
UNION ALL
SELECT 'samples of faithfulness exist', count(*) FROM faithfulness ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of agreement exist', count(*) FROM agreement ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of spectra exist', count(*) FROM spectrum ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of switches exist', count(*) FROM switch ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of switch images exist', count(*) FROM switch_image ANTI JOIN sample USING (sample_id)
UNION ALL
SELECT 'samples of redraws exist', count(*) FROM redraw ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of concept_attention exist', count(*) FROM concept_attention ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of information exist', count(*) FROM information ANTI JOIN sample USING (sample_id, model_id, prompt_id)
UNION ALL
SELECT 'samples of paths exist', count(*) FROM path ANTI JOIN sample USING (sample_id, model_id, prompt_id, seed)
UNION ALL
SELECT 'failures have a failed sample', count(*) FROM failure ANTI JOIN (
    SELECT * FROM sample WHERE status = 'failed') USING (model_id, prompt_id, seed)
UNION ALL
SELECT 'models of localisation exist', count(*) FROM localisation ANTI JOIN model USING (model_id)
UNION ALL
SELECT 'models of randomisation exist', count(*) FROM randomisation ANTI JOIN model USING (model_id)
UNION ALL
SELECT 'models of image sets exist', count(*) FROM image_set ANTI JOIN model USING (model_id)
UNION ALL
SELECT 'metrics of scores exist', count(*) FROM score ANTI JOIN metric USING (metric_id)
UNION ALL
SELECT 'samples of scores exist', count(*) FROM score ANTI JOIN sample USING (sample_id, model_id, prompt_id, seed)
WHERE sample_id IS NOT NULL
UNION ALL
SELECT 'a (sample, metric) has one score', count(*) FROM (
    SELECT 1 FROM score GROUP BY metric_id, model_id, prompt_id, seed HAVING count(*) > 1);
