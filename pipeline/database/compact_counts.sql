-- One row per table of which a compact copy keeps a part: its name and its rows.
SELECT 'frame' AS table_name, count(*) AS rows FROM frame
UNION ALL
SELECT 'explanation', count(*) FROM explanation;
