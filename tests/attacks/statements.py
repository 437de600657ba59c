"""What a reader may type on the SQL page: statements that mean harm, odd ones, heavy ones, and an analyst's own.

{file} is a file outside the study, {folder} one in which nothing may appear.
"""

from __future__ import annotations

LEAKS = (
    "register_external_resource", "register_external_resource_type", "create_external_resource", "destroy_external_resource",
    "deregister_external_resource", "enable_logging", "disable_logging", "truncate_duckdb_logs", "enable_profiling", "disable_profiling",
    "checkpoint", "force_checkpoint", "glob", "read_text", "read_blob", "read_csv", "read_csv_auto", "read_single_csv_file", "sniff_csv",
    "read_json", "read_json_auto", "read_json_objects", "read_json_objects_auto", "read_ndjson", "read_ndjson_auto", "read_ndjson_objects",
    "read_single_json_file", "read_parquet", "parquet_scan", "read_single_parquet_file", "parquet_metadata", "parquet_schema",
    "parquet_file_metadata", "parquet_full_metadata", "parquet_kv_metadata", "read_duckdb", "query", "query_table",
    "json_execute_serialized_sql", "arrow_scan", "arrow_scan_dumb", "pandas_scan", "python_map_function", "seq_scan", "which_secret",
    "duckdb_secrets", "sqlite_scan", "postgres_scan", "mysql_scan", "iceberg_scan", "delta_scan", "st_read", "read_xlsx",
    "pragma_storage_info", "summary", "test_all_types", "test_vector_types",
)  # fmt: skip
"""Table functions that read files, run text, or change state: each is called with the file's name."""
CATALOGUE = (
    "duckdb_databases", "duckdb_settings", "duckdb_logs", "duckdb_log_contexts", "duckdb_extensions", "duckdb_extension_repositories",
    "duckdb_secrets", "duckdb_secret_types", "duckdb_secret_type_parameters", "duckdb_temporary_files", "duckdb_external_file_cache",
    "duckdb_external_resources", "duckdb_external_resource_types", "duckdb_memory", "duckdb_variables", "duckdb_prepared_statements",
    "duckdb_optimizers", "duckdb_connection_count", "duckdb_approx_database_count", "duckdb_profiling_settings", "duckdb_logs_parsed",
    "duckdb_eviction_queues", "duckdb_available_metrics", "duckdb_dependencies", "duckdb_sequences", "duckdb_indexes", "duckdb_triggers",
    "pragma_database_size", "pragma_metadata_info", "pragma_platform", "pragma_user_agent", "pragma_collations", "python_arrow_scan",
)  # fmt: skip
"""Table functions of the catalogue that tell of the server rather than the study."""
VIEWS = (
    "duckdb_databases", "duckdb_logs", "duckdb_indexes", "duckdb_schemas", "pragma_database_list", "sqlite_master", "sqlite_schema",
    "sqlite_temp_master", "pg_catalog.pg_settings", "pg_catalog.pg_database", "pg_catalog.pg_tablespace", "pg_catalog.pg_proc",
    "pg_catalog.pg_class", "pg_catalog.pg_prepared_statements", "system.main.duckdb_databases", "main.duckdb_databases", "temp.x",
    '"duckdb_databases"', "DUCKDB_DATABASES", "information_schema.schemata", "information_schema.character_sets", "system.pg_catalog.pg_settings",
)  # fmt: skip
SCALARS = (
    "getenv('HOME')", "getenv('PATH')", "GETENV('HOME')", '"getenv"(\'HOME\')', "getenv /* x */ ('HOME')", "main.getenv('HOME')",
    "system.main.getenv('HOME')", "current_setting('temp_directory')", "current_setting('home_directory')", "current_setting('memory_limit')",
    "getvariable('x')", "set_config('threads', '1')", "write_log('x')", "nextval('s')", "currval('s')", "setseed(0.5)", "sleep_ms(100000)",
    "pg_sleep(100)", "json_serialize_plan('SELECT 1')", "json_deserialize_sql('{}')", "json_execute_serialized_sql('{}')",
    "current_connection_id()", "current_transaction_id()", "txid_current()", "current_query_id()", "in_search_path('a', 'b')",
    "pg_get_viewdef(1)", "pg_postmaster_start_time()", "pg_conf_load_time()", "inet_server_addr()", "hive_partition_component('a', 'b')",
    "parse_duckdb_log_message('a', 'b')", "stats(1)", "vector_type(1)", "create_sort_key(1, 'asc')", "no_such_function(1)", "which_secret('a', 'b')",
    "list_transform(['HOME'], lambda x: getenv(x))", "list_transform(['HOME'], x -> getenv(x))", "list_filter(['HOME'], lambda x: getenv(x) = '/')",
    "'HOME'.getenv()", "(SELECT getenv('HOME'))", "CASE WHEN true THEN getenv('HOME') END", "count(*) FILTER (getenv('HOME') = 'x')",
    "sum(1) OVER (ORDER BY getenv('HOME'))", "[getenv(x) for x in ['HOME']]", "{'a': getenv('HOME')}", "MAP {'a': getenv('HOME')}",
    "getenv('HOME')[1]", "getenv('HOME')::INTEGER", "coalesce(NULL, getenv('HOME'))", "try(getenv('HOME'))", "1 IN (getenv('HOME'))",
    "EXISTS (FROM read_text('{file}'))", "(SELECT content FROM read_text('{file}'))", "ARRAY(SELECT content FROM read_text('{file}'))",
)  # fmt: skip
FILES = (
    "SELECT * FROM read_parquet('{folder}/*')", "SELECT * FROM parquet_scan('{folder}/*')", "FROM '/etc/hostname'", "EXPLAIN ANALYZE SELECT * FROM read_text('{file}')", "SELECT * FROM sqlite_scan('{file}', 'note')", "SELECT * FROM 'https://127.0.0.1/x.csv'", "SELECT * FROM read_parquet('s3://bucket/x.parquet')", "SELECT set_config('enable_external_access', 'true')",
    "SELECT * FROM '{file}'", "FROM '{file}'", "FROM '/etc/passwd'", "FROM \"/etc/passwd\"", "TABLE '{file}'", "FROM '/etc/*'", "FROM 'secret.txt'",
    "FROM '../outside/secret.txt'", "FROM 'file://{file}'", "FROM 'https://127.0.0.1/x.csv'", "FROM 's3://bucket/x.parquet'", "FROM 'hf://datasets/a/b.csv'",
    "FROM '/proc/self/environ'", "FROM '/proc/self/cmdline'", "FROM '/dev/zero'", "FROM '/dev/stdin'", "FROM '{folder}/*.csv'", "FROM '{file}' AS x",
    "SELECT count(*) FROM read_text('/etc/passwd')", "SELECT * FROM read_text('/proc/self/environ')", "SELECT * FROM read_text(['{file}'])",
    "SELECT * FROM glob('/*')", "WITH x AS (SELECT * FROM read_text('{file}')) SELECT * FROM x", "WITH x AS MATERIALIZED (FROM read_text('{file}')) FROM x",
    "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')", "SELECT * FROM query('FROM duckdb_' || 'logs()')", "FROM query_table('{file}')",
    "FROM query_table(['sample', '{file}'])", "EXPLAIN SELECT * FROM read_text('{file}')", "EXPLAIN FROM '{file}'", "DESCRIBE '{file}'", "SUMMARIZE '{file}'",
    "DESCRIBE FROM read_text('{file}')", "SUMMARIZE FROM read_text('{file}')", "PIVOT '{file}' ON a USING count(*)", "PIVOT (FROM read_text('{file}')) ON content USING count(*)",
    "PIVOT sample ON (SELECT content FROM read_text('{file}')) USING count(*)", "PIVOT sample ON status USING count(getenv('HOME'))",
    "PIVOT sample ON getenv('HOME') USING count(*)", "FROM sample PIVOT (count(getenv('HOME')) FOR status IN ('done'))", "UNPIVOT '{file}' ON a",
    "SELECT 1 UNION ALL SELECT content FROM read_text('{file}')", "VALUES ((SELECT content FROM read_text('{file}')))", "FROM sample, read_text('{file}')",
    "FROM sample JOIN read_text('{file}') ON true", "FROM sample, LATERAL (SELECT content FROM read_text('{file}'))", "SELECT 1 LIMIT (SELECT size FROM read_text('{file}'))",
    "SELECT 1 ORDER BY (SELECT size FROM read_text('{file}'))", "SELECT 1 WHERE EXISTS (FROM read_text('{file}'))", "SELECT 1 GROUP BY (SELECT size FROM read_text('{file}'))",
    "SELECT * REPLACE ((SELECT content FROM read_text('{file}')) AS text) FROM prompt", "SELECT COLUMNS(c -> getenv('HOME') = 'x') FROM prompt",
    "FROM sample USING SAMPLE getenv('HOME') ROWS", "FROM histogram('{file}', 'a')", "FROM histogram_values('{file}', 'a')", "FROM pragma_table_info('{file}')",
    "SHOW '{file}'", "FROM json_each((SELECT content FROM read_text('{file}')))", "SELECT regexp_extract((SELECT content FROM read_text('{file}')), '.*')",
    "FROM read_parquet('{folder}/*')", "FROM (FROM (FROM (FROM read_blob('{file}'))))", "SELECT * FROM sample AT (VERSION => getenv('HOME'))",
    "FROM sample ASOF JOIN read_csv('{file}') ON true", "SELECT read_text('{file}')", "SELECT query('SELECT 1')", "CALL read_text('{file}')",
    "WITH duckdb_databases AS (SELECT 1) SELECT * FROM (WITH duckdb_databases AS (SELECT 2) SELECT 1), system.main.duckdb_databases",
    "SELECT * FROM (WITH duckdb_databases AS (SELECT 1) SELECT 1), duckdb_databases", "FROM demo.main.duckdb_databases",
)  # fmt: skip
WRITES = (
    "COPY (SELECT 1) TO '{folder}/out.csv'", "COPY sample TO '{folder}/out.parquet' (FORMAT parquet)", "COPY sample FROM '{file}'", "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'", "COPY FROM DATABASE demo TO memory", "CREATE TABLE x AS SELECT 1", "CREATE TEMP TABLE x AS SELECT 1", "CREATE OR REPLACE TABLE sample (a INT)",
    "CREATE VIEW x AS SELECT 1", "CREATE TEMP VIEW x AS SELECT 1", "CREATE MACRO f(a) AS a", "CREATE TEMP MACRO lower(a) AS getenv(a)", "CREATE TEMP MACRO f() AS TABLE FROM sample",
    "CREATE TYPE t AS ENUM ('a')", "CREATE SEQUENCE s", "CREATE SCHEMA s", "CREATE INDEX i ON sample (seed)", "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')", "DROP SECRET s", "INSERT INTO study SELECT * FROM study", "INSERT INTO sample VALUES (1)",
    "UPDATE prompt SET text = 'x'", "DELETE FROM sample", "TRUNCATE sample", "DROP TABLE sample", "DROP SCHEMA main CASCADE", "DROP VIEW IF EXISTS x", "DROP DATABASE demo",
    "ALTER TABLE sample RENAME TO other", "ALTER TABLE sample ADD COLUMN x INT", "COMMENT ON TABLE sample IS 'x'",
    "MERGE INTO prompt USING prompt AS p ON false WHEN NOT MATCHED THEN INSERT BY NAME", "VACUUM", "VACUUM ANALYZE", "ANALYZE", "CHECKPOINT", "FORCE CHECKPOINT",
    "BEGIN TRANSACTION", "COMMIT", "ROLLBACK", "ATTACH '{folder}/new.duckdb'", "ATTACH ':memory:' AS m", "ATTACH 'https://127.0.0.1/x.duckdb'", "ATTACH '{file}' (TYPE sqlite)",
    "DETACH demo", "USE memory", "USE main", "INSTALL httpfs", "LOAD httpfs", "LOAD '{file}'", "FORCE INSTALL spatial FROM 'http://127.0.0.1'", "UPDATE EXTENSIONS",
    "SET enable_external_access = true", "SET lock_configuration = false", "SET GLOBAL memory_limit = '100GB'", "SET threads = 64", "SET temp_directory = '{folder}'",
    "SET home_directory = '{folder}'", "SET VARIABLE x = 1", "SET SESSION schema = 'pg_catalog'", "SET allowed_paths = ['/']", "SET custom_user_agent = 'x'", "RESET max_execution_time",
    "RESET ALL", "PRAGMA enable_profiling", "PRAGMA threads = 64", "PRAGMA database_list", "PRAGMA version", "PRAGMA show_databases", "PRAGMA storage_info('sample')",
    "PRAGMA import_database('{folder}')", "PRAGMA copy_database('a', 'b')", "PRAGMA enable_verification", "PRAGMA user_agent", "CALL pragma_version()", "CALL force_checkpoint()",
    "CALL enable_logging()", "CALL register_external_resource('a', 'b')", "CALL query('SELECT 1')", "PREPARE p AS SELECT 1", "EXECUTE p", "EXECUTE p(1)", "DEALLOCATE p",
    "EXPLAIN ANALYZE SELECT 1", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1", "EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1", "EXPLAIN CREATE TABLE x AS SELECT 1",
    "EXPLAIN (ANALYZE) SELECT 1", "EXPLAIN (FORMAT json) SELECT 1", "/* x */ EXPLAIN /* y */ ANALYZE SELECT 1", "EXPLAIN EXPLAIN SELECT 1", "EXPLAIN COPY sample TO '{folder}/x.csv'",
    "CREATE TABLE x AS PIVOT sample ON status USING count(*)", "COPY (PIVOT sample ON status USING count(*)) TO '{folder}/out.csv'",
    "INSERT INTO sample PIVOT sample ON status USING count(*)", "WITH x AS (INSERT INTO study SELECT * FROM study RETURNING *) FROM x",
    "WITH x AS (DELETE FROM sample RETURNING *) FROM x", "WITH x AS (UPDATE prompt SET text = 'x' RETURNING *) FROM x", "WITH x AS (SELECT 1) INSERT INTO study SELECT * FROM study",
    "WITH x AS (SELECT 1) DELETE FROM sample", "SHOW DATABASES", "SHOW VARIABLES", "SHOW SCHEMAS", "SHOW SETTINGS", "SELECT * INTO x FROM sample", "FROM sample SELECT * INTO OUTFILE 'x'",
    "GRANT ALL ON sample TO x", "DO $$ BEGIN END $$", ".read {file}", ".open {file}", "\\copy sample TO '{folder}/x'", "KILL 1", "SHUTDOWN", "DECLARE c CURSOR FOR SELECT 1",
    "LOCK TABLE sample", "REFRESH MATERIALIZED VIEW x", "NOTIFY x", "LISTEN x", "CREATE FUNCTION f() AS 1", "CREATE EXTENSION x", "CREATE TRIGGER x", "CREATE USER x",
)  # fmt: skip
ODD = (
    "", " ", ";", ";;;", "/* */", "/*", "--", "-- x", "/* /* */", "SELECT", "SELECT 1;; SELECT 2", "SELECT 1; DROP TABLE sample", "SELECT 1; SELECT 2", "; DELETE FROM sample; --",
    "SELECT 1; -- ; DROP TABLE sample\nDROP TABLE sample", "SELECT $1", "SELECT $name", "SELECT ?", "SELECT ?1", "SELECT 1) AS x, (SELECT 2", "SELECT 1) UNION (SELECT 2", "SELECT 1 /*",
    "SELECT '", "SELECT \"", "SELECT $$", "SELECT E'\\", "SELECT 1 FROM (", "SELECT ((((", ")", "(", "(((", "SELECT * FROM connection", "SELECT * FROM statement", "SELECT * FROM rows",
    "SELECT * FROM request", "SELECT * FROM self", "SELECT * FROM no_such_table", "SELECT nonsense FROM sample", "SELECT * FROM a.b.c.d", "SELECT 'a'::INTEGER", "SELECT error('x')",
    "SELECT 1/0 FROM nothing", "SELECT abs('a')", "SELECT abs(1, 2, 3)", "SELECT [1, 'a']::INTEGER[]", "SELECT '{'::JSON", "SELECT 'x'::DATE", "SELECT 9999999999999999999999::INTEGER",
 "SELECT sum('a')", "SELECT factorial(1000)", "SELECT INTERVAL '999999999999 years'",
 "SELECT strptime('x', '%Y')", "SELECT regexp_matches('a', '(')", "SELECT regexp_matches('a', '*')", "SELECT format('{', 1)",
    "SELECT format('{1}', 1)",  "\x00", "SELECT 1\x00; DROP TABLE sample", "\ufeff SELEKT 1", "SELECT '\u202e' FROM \u202e", "ＳＥＬＥＣＴ 1", "SELECT\u00a01 FROM\u2003x", "select 👍 from 👍",
    "ŠELECT 1", "SELECT * FROM \"\"", "SELECT \"\" FROM sample", "SELECT * EXCLUDE (nothing) FROM sample", "SELECT * FROM sample ORDER BY nothing", "SELECT count(*) FROM sample GROUP BY nothing",
    "SELECT (SELECT model_id FROM model), (SELECT 1, 2)", "SELECT max(count(*)) FROM sample", "SELECT row_number() FROM sample", "SELECT #99 FROM sample", "SELECT 1 LIMIT -1", "SELECT 1 LIMIT 'x'",
    "SELECT 1 OFFSET -1", "VALUES (1), (1, 2)", "SELECT 1 UNION SELECT 1, 2", "PIVOT sample", "PIVOT sample ON", "PIVOT sample ON nothing USING count(*)", "PIVOT PIVOT PIVOT", "UNPIVOT", "DESCRIBE nothing",
    "SUMMARIZE nothing", "EXPLAIN", "EXPLAIN nothing", "WITH x AS (SELECT 1), x AS (SELECT 2) FROM x", "WITH RECURSIVE x AS (SELECT 1) FROM y", "FROM", "TABLE nothing", "HELP", "1", "'x'", "null",
    "<script>alert(1)</script>", "{{7*7}}", "${jndi:ldap://127.0.0.1/x}", "../../../etc/passwd", "' OR 1=1 --", "\"; DROP TABLE sample; --", "=1+1", "[x](javascript:alert(1))", "SELECT '\ud7ff' || x",
    "S" * 1000, "SELECT " + "x" * 5000, "SELECT " + ", " * 500, "(" * 500, ")" * 500, "SELECT " + "(" * 5000 + "1", "'" * 999, "\n" * 999, ";" * 999, "\\" * 999, "SELECT " + "@" * 900 + "1 x y",
)  # fmt: skip
"""Not an answer, for one reason or another."""

LONG_NAME = "x" * 2000
HARMLESS = (
    "SELECT 1e400", "SELECT sqrt(-1)", "SELECT ln(-1)", "SELECT 2::HUGEINT ^ 500", "SELECT printf('%n', 1)", "SELECT '\x00'",
    "SELECT make_date(999999, 1, 1)",
    "SELECT '{file}'", "SELECT 'getenv' LIKE '%getenv%'", "SELECT 'DROP TABLE sample'", "SELECT $$; DROP TABLE sample; $$", "SELECT 1 -- ; DROP TABLE sample", "SELECT 1; -- done",
    "SELECT 1 /* ; SELECT 2 */ ;", "SELECT 1 AS \"DROP TABLE sample\"", "SELECT 1 AS \"a;b\"", "SELECT '<script>alert(1)</script>'", "SELECT '=1+1'", "SELECT '\u202e'", "SELECT 'ü; 👍', 2;",
    "SELECT 'a\nb'", "SELECT E'\\x41'", "SELECT '''; --'", "SELECT 1 AS \"x\ny\"", "SELECT 1 AS \"[x](javascript:alert(1))\"", f"SELECT 1 AS {LONG_NAME}", "SELECT 1e308 * 10", "SELECT 'nan'::DOUBLE",
    "SELECT -'inf'::DOUBLE", "SELECT 0.0 / 0", "SELECT 170141183460469231731687303715884105727", "SELECT 'x'::BLOB", "SELECT '9999-12-31'::DATE", "SELECT 'infinity'::DATE", "SELECT '-infinity'::TIMESTAMP",
    "SELECT '290000-01-01'::DATE", "SELECT '0001-01-01'::TIMESTAMP", "SELECT INTERVAL 1 MONTH", "SELECT TIME '10:00'", "SELECT '10:00:00+01'::TIMETZ", "SELECT uuid()", "SELECT '101'::BIT", "SELECT MAP {'a': [1, 2]}",
    "SELECT {'a': {'b': [1, NULL]}}", "SELECT NULL", "SELECT NULL::INTEGER[]", "SELECT []", "SELECT [[1], [2, 3]]", "SELECT [NULL]", "SELECT union_value(a := 1)", "SELECT 1::UTINYINT, 1::UBIGINT, 18446744073709551615",
    "SELECT '{\"a\": [1]}'::JSON", "SELECT 'a'::ENUM('a', 'b')", "SELECT 1.50::DECIMAL(38, 10)", "SELECT 1 WHERE false", "SELECT * FROM sample WHERE false", "SELECT * FROM model LIMIT 0", "SELECT " + "1 + " * 300 + "1",
    "SELECT " + "(" * 100 + "1" + ")" * 100, "SELECT [" + ", ".join(["1"] * 3000) + "]", "SELECT 1" + " UNION ALL SELECT 1" * 300, "SELECT * FROM (" * 20 + "SELECT 1" + ")" * 20, "FROM duckdb_tables()", "FROM duckdb_columns",
    "FROM information_schema.tables", "SELECT current_user, session_user, current_catalog, current_schema()", "SELECT * FROM sample, sample b LIMIT 1", "SELECT a.* FROM model a, model a2", "SELECT repeat('ab', 5000)",
    "SELECT list(range) FROM range(100000)", "SELECT string_agg(range, ',') FROM range(100000)", "SELECT range(1000000)", "SELECT * FROM range(1000000)", "SELECT array_agg({'a': range}) FROM range(5000)",
    "WITH duckdb_databases AS (SELECT 1 AS n) SELECT 1", "SELECT " + ", ".join(f"{i} AS c{i}" for i in range(500)), "SELECT getenv FROM (SELECT 1 AS getenv)", "SELECT 1 AS query, 2 AS read_text",
)  # fmt: skip
"""An answer, though it looks like harm or like trouble."""

MANY = ", ".join(f"range(1000000) t{i}" for i in range(90))
WIDE = ", ".join(f"repeat('x', 10000) AS c{i}" for i in range(500))
HEAVY = (
    "SELECT list_resize([true], 400000000, true)", "SELECT list_resize([1], 4000000000, 1)", f"SELECT {WIDE} FROM range(100000)", f"SELECT count(*) FROM {MANY}",
    "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))", "SELECT damerau_levenshtein(repeat('a', 60000), repeat('b', 60000))", "SELECT jaccard(repeat('ab', 100000000), 'ab')",
    "SELECT lpad('x', 2000000000, 'ab')", "SELECT rpad('x', 2000000000, 'ab')", "SELECT format('{:2000000000}', 1)", "SELECT printf('%2000000000d', 1)", "SELECT repeat('x', 10000000000)",
    "SELECT repeat('x', 4000000000)", "SELECT repeat(repeat('x', 100000), 100000)", "SELECT repeat([1], 1000000000)", "SELECT count(*) FROM range(1000000000000) a, range(1000000) b",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r", "WITH RECURSIVE r AS (SELECT 'x' AS t UNION ALL SELECT t || t FROM r) SELECT max(length(t)) FROM r",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT a.i + b.i FROM r a, r b) SELECT count(*) FROM r", "SELECT list(i) FROM range(10000000000) t(i)", "SELECT string_agg(i, 'xxxxxxxxxxxxxxxx') FROM range(10000000000) t(i)",
    "SELECT a.similarity FROM trajectory a, trajectory b, trajectory c, trajectory d ORDER BY random()", "SELECT DISTINCT a.i * b.i FROM range(1000000) a(i), range(1000000) b(i)",
    "SELECT * FROM range(100000000) ORDER BY random()", "SELECT range(1000000000)", "SELECT [x * 2 for x in range(1000000000)]", "SELECT list_sort(list_transform(range(100000000), lambda x: -x))",
    "SELECT list_reduce(range(100000000), lambda a, b: a + b)", "SELECT regexp_matches(repeat('a', 10000000), '(a*)*(a*)*(a*)*b')", "SELECT regexp_replace(repeat('a', 100000000), 'a', 'bbbbbbbbbbbbbbbb', 'g')",
    "SELECT regexp_matches('a', repeat('(a{1000}){1000}', 100))", "SELECT regexp_split_to_array(repeat('a,', 100000000), ',')", "SELECT string_split(repeat('a,', 400000000), ',')",
    "SELECT repeat('[', 10000000)::JSON", "SELECT json_extract(repeat('[', 1000000) || repeat(']', 1000000), '$')", "SELECT repeat('[', 100000)::INTEGER[]", "SELECT (repeat('9', 10000000))::DOUBLE",
    "SELECT list_aggregate(range(200000000), 'histogram')", "SELECT histogram(i) FROM range(1000000000) t(i)", "SELECT approx_quantile(i, 0.5), median(i), mode(i) FROM range(10000000000) t(i)",
    "SELECT quantile_cont(i, [x / 1000000 for x in range(1000000)]) FROM range(1000000) t(i)", "SELECT md5(repeat('x', 4000000000))", "SELECT sum(i) OVER (ORDER BY i ROWS BETWEEN 1000000 PRECEDING AND CURRENT ROW) FROM range(100000000) t(i)",
    "SELECT mode(i) OVER (ROWS BETWEEN 100000 PRECEDING AND 100000 FOLLOWING) FROM range(10000000) t(i)", "SELECT list_distance(range(100000000)::DOUBLE[], range(100000000)::DOUBLE[])",
    "SELECT array_cross_product([1, 2, 3]::INTEGER[100000000], [1, 2, 3])", "SELECT " + "abs(" * 3000 + "1" + ")" * 3000, "SELECT " + "[" * 9000 + "1" + "]" * 9000, "SELECT " + "(" * 9000 + "1" + ")" * 9000,
    "SELECT " + "NOT " * 4500 + "true", "SELECT " + "- " * 9000 + "1", "SELECT " + "1 + " * 4900 + "1", "SELECT * FROM (" * 1200 + "SELECT 1" + ")" * 1200, "SELECT 1" + " UNION SELECT 1" * 1200,
    "SELECT * FROM sample WHERE " + " OR ".join(["seed = 1"] * 1500), "PIVOT (SELECT i, i AS j FROM range(1000000) t(i)) ON i USING sum(j)", "PIVOT (FROM range(100000) t(i)) ON i",
    "SELECT * FROM generate_series(1, 10000000000000)", "SELECT unnest(range(10000000000))", "SELECT unnest([range(100000)]) FROM range(100000)", "SELECT bin(repeat('x', 200000000))", "SELECT hex(repeat('x', 1000000000))",
    "SELECT to_base64(repeat('x', 2000000000)::BLOB)", "SELECT url_encode(repeat('ü', 1000000000))", "SELECT strip_accents(repeat('ü', 500000000))", "SELECT reverse(repeat('👍', 500000000))", "SELECT translate(repeat('a', 2000000000), 'a', 'ü')",
    "SELECT replace(repeat('a', 1000000), 'a', repeat('b', 1000000))", "SELECT concat(" + ", ".join(["repeat('x', 1000000000)"] * 50) + ")", "SELECT bitstring('1', 2000000000)", "SELECT bar(1, 0, 2, 1000000000)", "SELECT equi_width_bins(0, 10, 1000000000, false)",
    "SELECT map_from_entries([(x, x) for x in range(50000000)])", "SELECT row_to_json(t) FROM (SELECT range(10000000) AS a) t", "SELECT hamming(repeat('a', 1000000000), repeat('b', 1000000000))",
    "SUMMARIZE SELECT i, repeat('x', i) FROM range(1000000) t(i)", "SELECT count(DISTINCT a.i || b.i) FROM range(1000000) a(i), range(1000000) b(i)", "SELECT time_bucket(INTERVAL 1 MICROSECOND, '1970-01-01'::TIMESTAMP + to_seconds(i)) FROM range(10000000000) t(i) ORDER BY 1 DESC",
    "SELECT generate_series('0001-01-01'::TIMESTAMP, '9999-01-01'::TIMESTAMP, INTERVAL 1 SECOND)", "SELECT factorial(33), product(i) FROM range(1, 10000000000) t(i)", "SELECT entropy(i), kurtosis(i), mad(i) FROM range(10000000000) t(i)",
    "SELECT similarity FROM trajectory, range(100000000) ORDER BY list_sum(similarity), random()", "SELECT a.text || b.text || c.text FROM prompt a, prompt b, prompt c, prompt d, prompt e, prompt f ORDER BY 1", "SELECT i, count(*) FROM range(10000000000) t(i) GROUP BY CUBE (i, i % 2, i % 3)",
)  # fmt: skip
"""More than a statement may use: an answer, or one line, within the time limit."""

REFUSED = (
    *FILES,
    *WRITES,
    *ODD,
    *(f"SELECT {call}" for call in SCALARS),
    *(f"SELECT * FROM {name}('{{file}}')" for name in LEAKS),
    *(f"SELECT * FROM {name}()" for name in CATALOGUE),
    *(f"FROM {name}" for name in VIEWS),
)
