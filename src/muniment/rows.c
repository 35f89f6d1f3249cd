/* A batch of columns as rows of a SQLite database, in one call outside Python's global lock: `storage/sqlite/rows.py`
   does the same in Python, with an object for each value.

   SQLite is the one inside of apsw, which gives its functions to whoever is loaded as an extension. */

#include <stddef.h>
#include <stdint.h>

enum { SQLITE_OK = 0, SQLITE_MISUSE = 21, SQLITE_DONE = 101 };

/* Their places in `sqlite3_api_routines` (sqlite3ext.h), to which SQLite only ever appends. */
enum {
    BIND_BLOB = 2,
    BIND_INT64 = 5,
    BIND_NULL = 6,
    BIND_TEXT = 10,
    FINALIZE = 57,
    RESET = 77,
    STEP = 94,
    PREPARE = 116
};

typedef void (*routine)(void);

static const routine *routines;

/* What SQLite calls when it loads this as an extension. */
int muniment_rows_init(void *database, char **error, const routine *given) {
    (void)database;
    (void)error;
    routines = given;
    return SQLITE_OK;
}

/* Numbers; or bytes, as `column` in digests.c has them, that may be text. `absent` has a byte for each row that has no
   value, or is null. */
struct values {
    const int64_t *numbers;
    const int32_t *offsets;
    const uint8_t *data;
    int64_t size;
    const uint8_t *absent;
    int64_t text;
};

static int bind(void *statement, int place, const struct values *values, int64_t row) {
    typedef int (*binding)(void *, int, const void *, int, void (*)(void *));
    if (values->absent && values->absent[row])
        return ((int (*)(void *, int))routines[BIND_NULL])(statement, place);
    if (values->numbers)
        return ((int (*)(void *, int, int64_t))routines[BIND_INT64])(statement, place, values->numbers[row]);
    int32_t start = values->offsets[row], end = values->offsets[row + 1];
    if (start < 0 || start > end || end > values->size)
        return SQLITE_MISUSE;
    /* Without a destructor SQLite does not copy them. */
    return ((binding)routines[values->text ? BIND_TEXT : BIND_BLOB])(statement, place, values->data + start,
                                                                     end - start, NULL);
}

/* Executes a statement with the values of each row. What SQLite answers to the first that fails; MISUSE too where this
   was not loaded as an extension, or a column is none. */
int muniment_rows(void *database, const char *sql, int64_t rows, const struct values *columns, int width) {
    typedef int (*preparing)(void *, const char *, int, void **, const char **);
    void *statement = NULL;
    if (!routines)
        return SQLITE_MISUSE;
    int code = ((preparing)routines[PREPARE])(database, sql, -1, &statement, NULL);
    int (*step)(void *) = (int (*)(void *))routines[STEP], (*reset)(void *) = (int (*)(void *))routines[RESET];
    for (int64_t row = 0; row < rows && code == SQLITE_OK; row++) {
        for (int place = 0; place < width && code == SQLITE_OK; place++)
            code = bind(statement, place + 1, columns + place, row);
        if (code == SQLITE_OK && (code = step(statement)) == SQLITE_DONE)
            code = reset(statement);
    }
    ((int (*)(void *))routines[FINALIZE])(statement);
    return code;
}
