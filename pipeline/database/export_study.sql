-- One row: what the card of an exported study says of it.
SELECT
    name, title, description, schema_version, snapshot, content_hash, spec, environment, planned_samples, done_samples,
    failed_samples
FROM study;
