-- One row per part of the data that a figure may need, by name, that is there within the filters; of one model where the name says so: $baseline.
WITH kept AS MATERIALIZED (
    SELECT s.sample_id, s.model_id, s.prompt_id, s.status FROM sample AS s JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    WHERE s.model_id IN $models AND s.seed IN $seeds
),
mapped AS MATERIALIZED (
    SELECT DISTINCT k.model_id, e.method, e.word <> '' AS worded FROM explanation AS e JOIN kept AS k USING (sample_id)
),
played AS MATERIALIZED (
    SELECT DISTINCT k.model_id, f.method, f.baseline, f.score FROM faithfulness AS f JOIN kept AS k USING (sample_id)
),
told AS MATERIALIZED (
    SELECT DISTINCT k.model_id, t.source, t.role IN ('subject', 'relation', 'object', 'attribute') AS has_role
    FROM token_attention AS t JOIN kept AS k USING (sample_id) WHERE t.role <> 'special'
)
SELECT 'score' AS part FROM (SELECT 1 FROM scored_sample($metric) JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    WHERE model_id IN $models AND (seed IS NULL OR seed IN $seeds) LIMIT 1)
UNION ALL SELECT 'scored model' FROM (SELECT DISTINCT model_id FROM scored_sample($metric) JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    WHERE model_id IN $models AND (seed IS NULL OR seed IN $seeds))
UNION ALL SELECT 'sampled model' FROM (SELECT DISTINCT model_id FROM scored_sample($metric) JOIN scoped_prompt($categories, $slice) USING (prompt_id)
    JOIN model USING (model_id) WHERE model_id IN $models AND (seed IS NULL OR seed IN $seeds) AND family <> 'images')
UNION ALL SELECT 'image' FROM (SELECT 1 FROM kept WHERE status = 'done' LIMIT 1)
UNION ALL SELECT 'trajectory' FROM (SELECT 1 FROM trajectory JOIN kept USING (sample_id) WHERE concept_id IN $concepts LIMIT 1)
UNION ALL SELECT 'trajectory of one' FROM (SELECT 1 FROM trajectory AS t JOIN kept USING (sample_id)
    WHERE t.model_id = $baseline AND concept_id IN $concepts LIMIT 1)
UNION ALL SELECT 'outcome' FROM (SELECT 1 FROM trajectory JOIN kept USING (sample_id) WHERE concept_id IN $concepts AND outcome IS NOT NULL LIMIT 1)
UNION ALL SELECT 'spectrum' FROM (SELECT 1 FROM spectrum JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'path' FROM (SELECT 1 FROM path JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'frame' FROM (SELECT 1 FROM frame JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'map of one' FROM (SELECT 1 FROM mapped WHERE model_id = $baseline AND NOT worded LIMIT 1)
UNION ALL SELECT 'map of one: ' || method FROM (SELECT DISTINCT method FROM mapped WHERE model_id = $baseline AND NOT worded)
UNION ALL SELECT 'word map of one: ' || method FROM (SELECT DISTINCT method FROM mapped WHERE model_id = $baseline AND worded)
UNION ALL SELECT 'words' FROM (SELECT 1 FROM told LIMIT 1)
UNION ALL SELECT 'words of one: ' || source FROM (SELECT DISTINCT source FROM told WHERE model_id = $baseline)
UNION ALL SELECT 'role' FROM (SELECT 1 FROM told WHERE has_role LIMIT 1)
UNION ALL SELECT 'information' FROM (SELECT 1 FROM information JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'game: ' || method FROM (SELECT DISTINCT method FROM played)
UNION ALL SELECT 'baseline of one' FROM (SELECT DISTINCT baseline FROM played WHERE model_id = $baseline)
UNION ALL SELECT 'agreement' FROM (SELECT 1 FROM agreement JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'concept attention' FROM (SELECT 1 FROM concept_attention JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'switch' FROM (SELECT 1 FROM switch JOIN kept USING (sample_id) LIMIT 1)
UNION ALL SELECT 'localisation' FROM (SELECT 1 FROM localisation WHERE model_id IN $models LIMIT 1)
ORDER BY part
