-- One row: how many values of a metric are in `score`.
SELECT coalesce(sum(coalesce(len(steps), 1)), 0)::BIGINT FROM score WHERE metric_id = $metric_id;
