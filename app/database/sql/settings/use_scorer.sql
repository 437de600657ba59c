-- Makes table names mean those of a scorer's schema; what that has none of its own of stays main's.
SET schema = $schema
