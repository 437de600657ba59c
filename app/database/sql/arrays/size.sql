-- One row: bytes of the study's curves in memory, of each prompt's seeds together ($whole) or of every seed, with what stands beside one.
-- By the models' steps: to read the lengths of all curves takes as long as to read the curves.
WITH curve AS (
    SELECT model_id, count(*) AS curves FROM rollup_prompt WHERE $whole GROUP BY model_id
    UNION ALL
    SELECT model_id, count(*) FROM trajectory WHERE NOT $whole GROUP BY model_id
)
SELECT coalesce(sum(curves * (4 * curve_length(model_id) + 48)), 0)::BIGINT AS size FROM curve
