-- One row per prompt category, the largest first.
SELECT category, count(*)::INTEGER AS prompts FROM prompt GROUP BY category ORDER BY prompts DESC, category
