-- One row: values in the curves of one seed, or of each prompt's seeds together ($whole).
SELECT coalesce(sum(len(similarity)), 0)::BIGINT AS size FROM rollup_prompt WHERE $whole
UNION ALL
SELECT coalesce(sum(len(similarity)), 0)::BIGINT FROM trajectory WHERE NOT $whole
ORDER BY size DESC LIMIT 1
