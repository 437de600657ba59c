"""What an analyst types on the SQL page, with the first cell of the answer where it is known."""

from __future__ import annotations

ROWS = "FROM (VALUES (1, 10.0, 'a'), (2, 20.0, 'b'), (3, 60.0, 'a'), (4, 30.0, NULL)) t(n, x, g)"
VALUES = {
    # aggregates, of n = 1 2 3 4, x = 10 20 60 30, g = a b a NULL
    "sum(n)": "10", "avg(x)": "30.0", "mean(x)": "30.0", "median(x)": "25.0", "min(x)": "10.0", "max(g)": "b", "count(*)": "4", "count(g)": "3", "count(DISTINCT g)": "2",
    "count(*) FILTER (WHERE n > 1)": "3", "sum(DISTINCT n)": "10", "stddev_pop(n)": "1.118033988749895", "stddev(n)": "1.2909944487358056", "stddev_samp(n)": "1.2909944487358056", "var_pop(n)": "1.25",
    "var_samp(n)": "1.6666666666666667", "variance(n)": "1.6666666666666667", "sem(n)": "0.5590169943749475", "round(corr(n, n), 9)": "1.0", "covar_pop(n, n)": "1.25", "covar_samp(n, n)": "1.6666666666666667", "regr_slope(n, n)": "1.0",
    "regr_intercept(n, n)": "0.0", "round(regr_r2(n, n), 9)": "1.0", "regr_count(n, n)": "4", "quantile_cont(n, 0.5)": "2.5", "quantile_disc(n, 0.5)": "2", "quantile_cont(n, [0.25, 0.75])": "[1.75, 3.25]", "approx_quantile(n, 0.5)": None,
    "approx_count_distinct(n)": "4", "arg_max(g, x)": "a", "arg_min(n, x)": "1", "max_by(n, x)": "3", "min_by(n, x)": "1", "first(n ORDER BY n)": "1", "last(n ORDER BY n)": "4", "any_value(g ORDER BY n)": "a", "mode(g)": "a", "entropy(n)": "2.0",
    "skewness(n)": "0.0", "kurtosis(n)": None, "mad(n)": "1.0", "product(n)": "24.0", "bool_and(n > 0)": "True", "bool_or(n > 3)": "True", "bit_and(n)": "0", "bit_or(n)": "7", "bit_xor(n)": "4", "string_agg(g, '-' ORDER BY n)": "a-b-a",
    "group_concat(g, ',')": None, "list(n ORDER BY n DESC)": "[4, 3, 2, 1]", "array_agg(n ORDER BY n)": "[1, 2, 3, 4]", "histogram(g)": "{a=2, b=1}", "count_if(n > 2)": "2", "fsum(x)": "120.0", "favg(x)": "30.0", "max(n, 2)": "[4, 3]", "min(n, 2)": "[1, 2]",
    "geomean(n)": None, "sum(n) / count(*)": "2.5", "round(avg(x), 1)": "30.0", "max(x) - min(x)": "50.0", "weighted_avg(x, n)": None, "approx_top_k(g, 1)": None, "reservoir_quantile(n, 0.5)": None, "kahan_sum(x)": "120.0",
}  # fmt: skip
SCALARS = {
    # numbers
    "1 + 2 * 3": "7", "7 // 2": "3", "7 % 2": "1", "7 / 2": "3.5", "2 ** 10": "1024.0", "-5": "-5", "abs(-5)": "5", "round(2.567, 2)": "2.57", "floor(2.7)": "2.0", "ceil(2.1)": "3.0", "trunc(2.7)": "2.0", "sign(-3)": "-1", "sqrt(16)": "4.0", "round(cbrt(27), 9)": "3.0",
    "exp(0)": "1.0", "ln(1)": "0.0", "log(100)": "2.0", "log2(8)": "3.0", "log10(1000)": "3.0", "power(2, 3)": "8.0", "pi()": "3.141592653589793", "sin(0)": "0.0", "atan2(0, 1)": "0.0", "degrees(pi())": "180.0", "greatest(1, 3, 2)": "3", "least(1, 3, 2)": "1",
    "isnan('nan'::DOUBLE)": "True", "isfinite(1.0)": "True", "gcd(12, 18)": "6", "lcm(4, 6)": "12", "factorial(5)": "120", "random() < 1": "True", "bit_count(7)": "3", "even(3)": "4.0", "1 BETWEEN 0 AND 2": "True", "mod(7, 2)": "1", "xor(5, 3)": "6", "5 & 3": "1", "1 << 3": "8",
    # choices and types
    "CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END": "b", "coalesce(NULL, 2)": "2", "nullif(1, 1)": "None", "if(true, 1, 2)": "1", "ifnull(NULL, 3)": "3", "1 IN (1, 2)": "True", "NULL IS NULL": "True", "1 IS DISTINCT FROM NULL": "True", "'5'::INTEGER": "5", "CAST('2.5' AS DOUBLE)": "2.5",
    "TRY_CAST('a' AS INTEGER)": "None", "typeof(1.5)": "DECIMAL(2,1)", "true AND NOT false": "True", "hash('a') = hash('a')": "True", "md5('a')": "0cc175b9c0f1b6a831c399e269772661", "sha256('a')": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    # texts
    "upper('a')": "A", "lower('A')": "a", "length('abc')": "3", "strlen('abc')": "3", "'a' || 'b'": "ab", "concat('a', 1)": "a1", "concat_ws('-', 'a', 'b')": "a-b", "substring('abc', 2, 1)": "b", "substr('abc', 2)": "bc", "left('abc', 2)": "ab", "right('abc', 2)": "bc", "trim('  a ')": "a",
    "ltrim(' a')": "a", "rtrim('a ')": "a", "replace('aba', 'a', 'c')": "cbc", "reverse('abc')": "cba", "repeat('ab', 2)": "abab", "lpad('1', 3, '0')": "001", "rpad('1', 3, '0')": "100", "starts_with('abc', 'a')": "True", "ends_with('abc', 'c')": "True", "contains('abc', 'b')": "True",
    "position('b' IN 'abc')": "2", "strpos('abc', 'c')": "3", "instr('abc', 'c')": "3", "split_part('a-b', '-', 2)": "b", "string_split('a b', ' ')": "[a, b]", "'abc' LIKE 'a%'": "True", "'ABC' ILIKE 'a%'": "True", "'abc' SIMILAR TO 'a.*'": "True", "'abc' NOT LIKE 'b%'": "True",
    "'abc' ~ 'a.*'": "True", "regexp_matches('abc', 'b')": "True", "regexp_extract('a12', '[0-9]+')": "12", "regexp_extract_all('a1b2', '[0-9]')": "[1, 2]", "regexp_replace('abc', 'b', 'x')": "axc", "regexp_full_match('abc', 'a.*')": "True", "regexp_split_to_array('a,b', ',')": "[a, b]",
    "levenshtein('cat', 'car')": "1", "jaccard('cat', 'car')": "0.5", "jaro_winkler_similarity('cat', 'cat')": "1.0", "hamming('cat', 'car')": "1", "ascii('a')": "97", "chr(97)": "a", "format('{:.2f}', 1.5)": "1.50", "printf('%d', 3)": "3", "format_bytes(1024)": "1.0 KiB", "bar(1, 0, 2, 2)": None,
    "strip_accents('é')": "e", "initcap": None, "translate('abc', 'b', 'x')": "axc", "unicode('a')": "97", "hex('a')": "61", "to_base64('a'::BLOB)": "YQ==", "'abc'[2]": "b", "'abc'[1:2]": "ab", "f'{1}'": None,
    # dates
    "current_date IS NOT NULL": "True", "now() > '2020-01-01'::TIMESTAMPTZ": "True", "today() IS NOT NULL": "True", "year(DATE '2024-05-06')": "2024", "month(DATE '2024-05-06')": "5", "day(DATE '2024-05-06')": "6", "extract('year' FROM DATE '2024-05-06')": "2024", "date_part('month', DATE '2024-05-06')": "5",
    "date_trunc('month', DATE '2024-05-06')": None, "date_diff('day', DATE '2024-05-01', DATE '2024-05-06')": "5", "DATE '2024-05-06' + INTERVAL 1 DAY": "2024-05-07 00:00:00", "DATE '2024-05-06' - DATE '2024-05-01'": "5", "strftime(DATE '2024-05-06', '%d.%m.%Y')": "06.05.2024", "strptime('2024', '%Y')": "2024-01-01 00:00:00",
    "make_date(2024, 5, 6)": "2024-05-06", "last_day(DATE '2024-05-06')": "2024-05-31", "dayname(DATE '2024-05-06')": "Monday", "monthname(DATE '2024-05-06')": "May", "week(DATE '2024-05-06')": "19", "quarter(DATE '2024-05-06')": "2", "epoch(TIMESTAMP '1970-01-01 00:00:01')": "1.0", "to_timestamp(0)": None,
    "age(DATE '2024-05-06', DATE '2024-05-05')": "1 day", "time_bucket(INTERVAL 1 DAY, TIMESTAMP '2024-05-06 10:00')": None, "to_days(3)": "3 days", "epoch_ms(0)": "1970-01-01 00:00:00", "isodow(DATE '2024-05-06')": "1",
    # lists, structs, maps, JSON
    "[1, 2, 3][2]": "2", "[1.5, 2.5]": "[1.5, 2.5]", "[1, 2, 3][-1]": "3", "[1, 2, 3][1:2]": "[1, 2]", "len([1, 2])": "2", "list_sum([1, 2])": "3", "list_avg([1, 2])": "1.5", "list_max([1, 2])": "2", "list_min([1, 2])": "1", "list_sort([2, 1])": "[1, 2]", "list_reverse([1, 2])": "[2, 1]", "list_distinct([1, 1])": "[1]", "list_contains([1], 1)": "True",
    "list_position([1, 2], 2)": "2", "list_concat([1], [2])": "[1, 2]", "list_append([1], 2)": "[1, 2]", "list_slice([1, 2, 3], 2, 3)": "[2, 3]", "list_transform([1, 2], lambda x: x + 1)": "[2, 3]", "list_filter([1, 2], lambda x: x > 1)": "[2]", "list_reduce([1, 2, 3], lambda a, b: a + b)": "6",
    "[x * 2 for x in [1, 2, 3] if x > 1]": "[4, 6]", "list_aggregate([1, 2, 3], 'avg')": "2.0", "list_median([1, 2, 9])": "2.0", "list_stddev_pop([1, 1])": "0.0", "flatten([[1], [2]])": "[1, 2]", "list_zip([1], [2])": None, "range(3)": "[0, 1, 2]", "generate_series(1, 3)": "[1, 2, 3]", "array_to_string([1, 2], '-')": "1-2",
    "list_cosine_similarity([1.0, 0.0], [1.0, 0.0])": "1.0", "list_distance([0.0], [3.0])": "3.0", "list_inner_product([1.0, 2.0], [3.0, 4.0])": "11.0", "array_cosine_similarity([1, 0]::FLOAT[2], [0, 1]::FLOAT[2])": "0.0", "list_unique([1, 1, 2])": "2", "list_resize([1], 3, 0)": "[1, 0, 0]", "list_has_any([1], [1, 2])": "True",
    "list_where([1, 2], [true, false])": "[1]", "list_grade_up([3, 1])": "[2, 1]", "list_prepend(0, [1])": "[0, 1]", "list_first([1, 2])": "1", "list_last([1, 2])": "2", "list_intersect([1, 2], [2])": "[2]", "array_length([1, 2])": "2",
    "{'a': 1}.a": "1", "struct_pack(a := 1).a": "1", "struct_extract({'a': 1}, 'a')": "1", "row(1, 2)": None, "MAP {'a': 1}['a']": "1", "map_keys(MAP {'a': 1})": "[a]", "map_values(MAP {'a': 1})": "[1]", "cardinality(MAP {'a': 1})": "1", "'{\"a\": 1}'::JSON ->> 'a'": "1", "json_extract('{\"a\": [1, 2]}', '$.a[1]')": "2",
    "json_extract_string('{\"a\": \"b\"}', '$.a')": "b", "json_array_length('[1, 2]')": "2", "json_keys('{\"a\": 1}')": "[a]", "to_json([1])": "[1]", "json_valid('{}')": "True", "json_type('[]')": "ARRAY", "json_object('a', 1)": '{"a":1}', "'{\"a\": 1}'::JSON -> '$.a'": "1",
}  # fmt: skip
WINDOWS = {
    "row_number() OVER (ORDER BY n)": "1", "rank() OVER (ORDER BY x DESC)": None, "dense_rank() OVER (ORDER BY g)": None, "percent_rank() OVER (ORDER BY n)": "0.0", "cume_dist() OVER (ORDER BY n)": "0.25", "ntile(2) OVER (ORDER BY n)": "1", "lag(x) OVER (ORDER BY n)": "None", "lead(x, 1, 0) OVER (ORDER BY n)": "20.0",
    "first_value(x) OVER (ORDER BY n)": "10.0", "last_value(x) OVER (ORDER BY n)": "10.0", "nth_value(x, 1) OVER (ORDER BY n)": "10.0", "sum(x) OVER (PARTITION BY g ORDER BY n)": None, "avg(x) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)": "15.0", "x - avg(x) OVER ()": "-20.0", "median(x) OVER ()": "25.0",
    "sum(n) OVER (ORDER BY n)": "1", "count(*) OVER ()": "4", "max(x) OVER (ORDER BY n RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)": "10.0",
}  # fmt: skip
STUDY = (
    "FROM model", "TABLE model", "SELECT * FROM sample LIMIT 5", "SELECT * EXCLUDE (image) FROM sample", "SELECT COLUMNS('.*_id') FROM sample", "SELECT count(*) FROM trajectory", "DESCRIBE sample", "DESCRIBE SELECT * FROM sample", "SUMMARIZE prompt", "SUMMARIZE SELECT clip_score FROM sample", "SHOW TABLES",
    "SHOW ALL TABLES", "SHOW sample", "DESCRIBE", "VALUES (1, 'a'), (2, 'b')", "FROM range(5)", "FROM generate_series(1, 5)", "SELECT unnest([1, 2, 3]) AS n", "EXPLAIN SELECT * FROM sample", "EXPLAIN PIVOT sample ON status USING count(*)", "PIVOT sample ON status USING count(*)", "PIVOT sample ON status USING count(*) GROUP BY model_id",
    "PIVOT sample ON status, seed USING count(*) AS n, avg(clip_score) GROUP BY model_id ORDER BY model_id LIMIT 5", "PIVOT sample ON seed IN (0, 1) USING avg(clip_score) GROUP BY prompt_id", "FROM sample PIVOT (avg(clip_score) FOR seed IN (0, 1) GROUP BY model_id)", "SELECT * FROM (PIVOT sample ON seed USING avg(clip_score) GROUP BY model_id)",
    "WITH p AS (PIVOT sample ON seed USING avg(clip_score) GROUP BY model_id) SELECT * FROM p", "PIVOT (SELECT m.label, s.seed, s.clip_score FROM sample s JOIN model m USING (model_id)) ON seed USING avg(clip_score)", "UNPIVOT (SELECT model_id, avg(clip_score) AS a, max(clip_score) AS b FROM sample GROUP BY ALL) ON a, b INTO NAME measure VALUE v",
    "FROM rollup_step UNPIVOT (v FOR k IN (low, high))", "SELECT m.label, avg(s.clip_score) FROM sample s JOIN model m USING (model_id) GROUP BY m.label HAVING count(*) > 1 ORDER BY 2 DESC NULLS LAST", "SELECT * FROM sample s LEFT JOIN failure f USING (model_id, prompt_id, seed)", "SELECT * FROM model a CROSS JOIN model b",
    "SELECT * FROM sample WHERE prompt_id IN (SELECT prompt_id FROM prompt WHERE text LIKE '%a%')", "SELECT * FROM prompt p WHERE EXISTS (FROM sample s WHERE s.prompt_id = p.prompt_id)", "SELECT model_id FROM sample UNION SELECT model_id FROM model", "SELECT model_id FROM model EXCEPT SELECT 1", "SELECT model_id FROM model INTERSECT SELECT model_id FROM sample",
    "WITH a AS (SELECT model_id, avg(clip_score) AS m FROM sample GROUP BY ALL), b AS (FROM a) SELECT * FROM b", "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 10) SELECT * FROM r", "SELECT * FROM sample QUALIFY row_number() OVER (PARTITION BY model_id ORDER BY clip_score DESC) = 1", "SELECT DISTINCT ON (model_id) * FROM sample ORDER BY model_id",
    "SELECT model_id, status, count(*) FROM sample GROUP BY CUBE (model_id, status)", "SELECT model_id, status, count(*) FROM sample GROUP BY ROLLUP (model_id, status)", "SELECT grouping(model_id), count(*) FROM sample GROUP BY GROUPING SETS ((model_id), ())", "SELECT * FROM sample USING SAMPLE 5 ROWS", "SELECT * FROM sample TABLESAMPLE reservoir(5)",
    "SELECT s.sample_id, l.n FROM sample s, LATERAL (SELECT s.seed + 1 AS n) l", "SELECT unnest(similarity) AS similarity, generate_subscripts(similarity, 1) AS step FROM trajectory LIMIT 20", "SELECT list_max(similarity) FROM trajectory", "SELECT similarity[1], similarity[-1] FROM trajectory", "SELECT [x - similarity[1] for x in similarity] FROM trajectory LIMIT 5",
    "SELECT avg(x) FROM (SELECT unnest(similarity) AS x FROM trajectory)", "SELECT * FROM histogram('sample', 'clip_score')", "SELECT bin, count FROM histogram(sample, clip_score)", "SELECT ARRAY(SELECT model_id FROM model)", "SELECT (SELECT max(clip_score) FROM sample)", "SELECT * FROM sample POSITIONAL JOIN model", "SELECT * FROM model ORDER BY ALL",
    "SELECT p.text, s.* EXCLUDE (image) FROM prompt p JOIN sample s USING (prompt_id) LIMIT 3", "SELECT corr(a.clip_score, b.clip_score) FROM sample a JOIN sample b USING (prompt_id, seed) WHERE a.model_id < b.model_id", "SELECT sample_id, clip_score - lag(clip_score) OVER w AS d FROM sample WINDOW w AS (PARTITION BY model_id ORDER BY sample_id)",
    "SELECT quantile_cont(clip_score, [0.025, 0.5, 0.975]) FROM sample", "SELECT width_bucket FROM (SELECT floor(clip_score * 10) AS width_bucket FROM sample)", "SELECT table_name, column_name FROM duckdb_columns() LIMIT 5", "SELECT * FROM information_schema.columns LIMIT 5", "SELECT function_name FROM duckdb_functions() LIMIT 5",
    "FROM sample SELECT model_id, count(*) GROUP BY ALL", "SELECT label.upper() FROM model", "SELECT now(), current_timestamp, current_date", "SELECT version()", "SELECT 1 AS a, a + 1 AS b", "SELECT octet_length(image) FROM sample WHERE image IS NOT NULL", "SELECT image FROM sample LIMIT 2", "SELECT * FROM json_each('[1, 2]')", "SELECT string_agg(label, ', ') FROM model",
    "SELECT * FROM model WHERE label ILIKE '%a%' OR model_id BETWEEN 1 AND 2", "SELECT spec ->> '$.name' FROM study", "-- the models\nSELECT label -- by name\nFROM model /* all */ ;", "select Label from MODEL", "(SELECT 1)", "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
)  # fmt: skip

KNOWN = {
    **{f"SELECT {call} {ROWS}": value for call, value in VALUES.items()},
    **{
        f"SELECT {call}": value
        for call, value in SCALARS.items()
        if call not in {"initcap", "f'{1}'"}
    },
    **{f"SELECT {call} {ROWS} ORDER BY n": value for call, value in WINDOWS.items()},
}
"""Statement: its first cell as text, None where that is not fixed."""
