-- One row: bytes of the study's curves in memory, of each prompt's seeds together ($whole) or of every seed, with what stands beside one.
SELECT coalesce(sum(4 * len(similarity) + 48), 0)::BIGINT AS size FROM rollup_prompt WHERE $whole
UNION ALL
SELECT coalesce(sum(4 * len(similarity) + 48), 0)::BIGINT FROM trajectory WHERE NOT $whole
ORDER BY size DESC LIMIT 1
