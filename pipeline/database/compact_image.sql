-- Puts a smaller picture in the place of a final image.
UPDATE sample SET image = $image WHERE sample_id = $sample_id;
