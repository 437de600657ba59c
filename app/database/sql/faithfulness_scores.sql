-- One row per score (clip, structure, inception) that insertion and deletion were played with.
SELECT score, count(*)::BIGINT AS rows FROM faithfulness WHERE model_id IN $models GROUP BY ALL ORDER BY score
