-- From here on nothing but the attached snapshot can be read, and no setting can be changed.
SET enable_external_access = false;
SET lock_configuration = true
