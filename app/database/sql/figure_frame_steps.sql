-- One row per step at which a frame within the filters was recorded.
SELECT DISTINCT f.step FROM frame AS f JOIN sample AS s USING (sample_id) JOIN scoped_prompt($categories, $slice) USING (prompt_id)
WHERE s.model_id IN $models AND s.seed IN $seeds
ORDER BY f.step
