-- One row per score that another program computed, in the order in which they were added.
SELECT metric_id, name, title, lower_is_better, low, high, source, preprocessing, level, sha256, unused FROM metric ORDER BY metric_id
