-- One row per table of which a compact copy may keep a part: its name and its rows.
SELECT 'frame' AS table_name, count(*) AS rows FROM frame
UNION ALL
SELECT 'explanation', count(*) FROM explanation
UNION ALL
SELECT 'trajectory', count(*) FROM trajectory
UNION ALL
SELECT 'rollup_prompt', count(*) FROM rollup_prompt
UNION ALL
SELECT 'spectrum', count(*) FROM spectrum;
