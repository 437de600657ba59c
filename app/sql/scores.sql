-- One row per (model, prompt): CLIP score of the final image, seeds averaged.
SELECT s.model_id, s.prompt_id, p.category, avg(s.clip_score)::DOUBLE AS score, count(*)::INTEGER AS seeds
FROM sample AS s JOIN prompt AS p USING (prompt_id)
WHERE s.status = 'done' AND s.clip_score IS NOT NULL
  AND s.model_id IN $models AND p.category IN $categories
    AND ($slice IS NULL OR p.prompt_id IN (SELECT unnest($slice::INTEGER[]))) AND s.seed IN $seeds
GROUP BY s.model_id, s.prompt_id, p.category
ORDER BY s.model_id, s.prompt_id
