/* A batch of columns as rows of a SQLite database, and rows of one as columns, in one call outside Python's global lock:
   `storage/sqlite` does the same in Python, with an object for each value, and with SQL that gathers them.

   SQLite is the one inside of apsw, which gives its functions to whoever is loaded as an extension. */

#include "column.h"

#include <string.h>

enum { SQLITE_OK = 0, SQLITE_MISUSE = 21, SQLITE_ROW = 100, SQLITE_DONE = 101 };
enum { SQLITE_NULL = 5 };

/* Their places in `sqlite3_api_routines` (sqlite3ext.h), to which SQLite only ever appends. */
enum {
    BIND_BLOB = 2,
    BIND_INT64 = 5,
    BIND_NULL = 6,
    BIND_TEXT = 10,
    COLUMN_VALUE = 39,
    ERRMSG = 53,
    FINALIZE = 57,
    RESET = 77,
    STEP = 94,
    VALUE_BLOB = 102,
    VALUE_BYTES = 103,
    VALUE_INT64 = 107,
    VALUE_TYPE = 113,
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

typedef int (*preparing)(void *, const char *, int, void **, const char **);
typedef int (*about)(void *); /* a statement, or a value */
typedef int (*numbering)(void *, int, int64_t);

static int bind(void *statement, int place, const struct values *values, int64_t row) {
    typedef int (*binding)(void *, int, const void *, int, void (*)(void *));
    if (values->absent && values->absent[row])
        return ((int (*)(void *, int))routines[BIND_NULL])(statement, place);
    if (values->numbers)
        return ((numbering)routines[BIND_INT64])(statement, place, values->numbers[row]);
    if (!within(&values->bytes, row))
        return SQLITE_MISUSE;
    /* Without a destructor SQLite does not copy them. */
    return ((binding)routines[values->text ? BIND_TEXT : BIND_BLOB])(
        statement, place, beginning(&values->bytes, row), (int)length(&values->bytes, row), NULL);
}

/* Executes a statement with the values of each row. What SQLite answers to the first that fails; MISUSE too where this
   was not loaded as an extension, or a column is none. */
int muniment_rows(void *database, const char *sql, int64_t rows, const struct values *columns, int width) {
    void *statement = NULL;
    if (!routines)
        return SQLITE_MISUSE;
    int code = ((preparing)routines[PREPARE])(database, sql, -1, &statement, NULL);
    about step = (about)routines[STEP], reset = (about)routines[RESET];
    for (int64_t row = 0; row < rows && code == SQLITE_OK; row++) {
        for (int place = 0; place < width && code == SQLITE_OK; place++)
            code = bind(statement, place + 1, columns + place, row);
        if (code == SQLITE_OK && (code = step(statement)) == SQLITE_DONE)
            code = reset(statement);
    }
    ((about)routines[FINALIZE])(statement);
    return code;
}

/* Room for the values of a column. All are of one type, or absent where that is not null. */
struct room {
    int64_t *numbers;
    int32_t *offsets;
    uint8_t *data;
    int64_t size;
    uint8_t *absent;
    int64_t type;
};

/* Whether there was room for this value, and it is of the type. */
static int take(void *value, const struct room *room, int64_t row) {
    int type = ((about)routines[VALUE_TYPE])(value), size = 0;
    if (room->absent)
        room->absent[row] = type == SQLITE_NULL;
    if (type != room->type && !(room->absent && type == SQLITE_NULL))
        return 0;
    if (room->numbers) {
        room->numbers[row] = ((int64_t (*)(void *))routines[VALUE_INT64])(value);
        return 1;
    }
    if (type == room->type)
        size = ((about)routines[VALUE_BYTES])(value);
    if (size > room->size - room->offsets[row])
        return 0;
    if (size) {
        const void *data = ((const void *(*)(void *))routines[VALUE_BLOB])(value);
        if (!data)
            return 0;
        memcpy(room->data + room->offsets[row], data, (size_t)size);
    }
    room->offsets[row + 1] = room->offsets[row] + size;
    return 1;
}

/* Takes the rows of a query with these numbers bound, as many as there is room for. DONE when it has no more, ROW when
   there was no room for the next one, or it holds something of another type; or else SQLite's error. */
int muniment_columns(void *database, const char *sql, const int64_t *bound, int bindings, int64_t most,
                     const struct room *rooms, int width, int64_t *rows) {
    void *statement = NULL;
    int64_t row = 0;
    if (!routines)
        return SQLITE_MISUSE;
    int code = ((preparing)routines[PREPARE])(database, sql, -1, &statement, NULL);
    for (int place = 0; place < bindings && code == SQLITE_OK; place++)
        code = ((numbering)routines[BIND_INT64])(statement, place + 1, bound[place]);
    for (int place = 0; place < width; place++)
        if (rooms[place].offsets)
            rooms[place].offsets[0] = 0;
    if (code == SQLITE_OK)
        while ((code = ((about)routines[STEP])(statement)) == SQLITE_ROW && row < most) {
            int place = 0;
            while (place < width &&
                   take(((void *(*)(void *, int))routines[COLUMN_VALUE])(statement, place), rooms + place, row))
                place++;
            if (place < width)
                break;
            row++;
        }
    ((about)routines[FINALIZE])(statement);
    *rows = row;
    return code;
}

/* What SQLite says of its last error in this database. */
const char *muniment_error(void *database) {
    return routines ? ((const char *(*)(void *))routines[ERRMSG])(database) : "not loaded as an extension";
}
