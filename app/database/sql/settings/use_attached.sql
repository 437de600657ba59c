-- Makes table names mean those of the attached snapshot.
USE snapshot
