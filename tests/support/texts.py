"""Texts that something might interpret: HTML, Markdown, SQL, control characters."""

HOSTILE = (
    "<script>alert('boo')</script><img src=x onerror=alert(1)> a cat",
    "**bold** [click](javascript:alert(1)) ![i](http://127.0.0.1/x.png) :red[x] $x^2$ "
    ":material/home: # h",
    '\'; DROP TABLE sample; -- "quoted"',
    "x" * 10_000,
    "\u202eright to left\u202c שלום עולם مرحبا",
    "line one\nline two\t\x0btabbed",
    "🦊 emoji 👩‍👩‍👧‍👦 and ﷽",
)
