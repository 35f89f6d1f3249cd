/* The documents of a batch as a dump has them, in one call outside Python's global lock: `smuggler/dump_document.py` has
   the same in Python, and says what they are. */

#include "column.h"

#include <string.h>

enum { LONGEST = 2048, DIGITS = 210, MEMBER = 1, NUMBER = 2 };

/* A place in a value, from start to before end. */
struct span {
    int32_t start, end;
};

static const uint8_t *find(const uint8_t *data, const uint8_t *end, const uint8_t *mark, int64_t size) {
    for (; end - data >= size; data++) {
        data = memchr(data, mark[0], (size_t)(end - data - size + 1));
        if (!data)
            return NULL;
        if (memcmp(data, mark, (size_t)size) == 0)
            return data;
    }
    return NULL;
}

/* Whether the values of two rows are the same but for these strings in them. */
static int alike(const struct column *column, const struct span *strings, int64_t row, int64_t other) {
    struct span mine = strings[row], its = strings[other];
    int64_t rest = length(column, row) - mine.end;
    return mine.start == its.start && (mine.end > 0) == (its.end > 0) && rest == length(column, other) - its.end &&
           memcmp(beginning(column, row), beginning(column, other), (size_t)mine.start) == 0 &&
           memcmp(beginning(column, row) + mine.end, beginning(column, other) + its.end, (size_t)rest) == 0;
}

/* Which metadata are the same but for the string after `mark`, of which that ends in its opening quote. `strings` are
   their places, with the quotes, empty where there is no mark. Each row has the number of its kind, and each kind its
   first row. How many kinds there are, -1 where they are more than `most`, or a value is too long or has an escape. */
int64_t muniment_alike(int64_t rows, const struct column *metadata, const uint8_t *mark, int64_t mark_size,
                       int64_t most, struct span *strings, uint8_t *kinds, int64_t *firsts) {
    int64_t count = 0, last = 0;
    for (int64_t row = 0; row < rows; row++) {
        if (!within(metadata, row) || length(metadata, row) > LONGEST)
            return -1;
        const uint8_t *data = beginning(metadata, row), *end = data + length(metadata, row);
        const uint8_t *at = find(data, end, mark, mark_size);
        strings[row] = (struct span){0, 0};
        if (at) {
            const uint8_t *start = at + mark_size, *close = memchr(start, '"', (size_t)(end - start));
            if (!close || memchr(start, '\\', (size_t)(close - start)))
                return -1;
            strings[row] = (struct span){(int32_t)(start - 1 - data), (int32_t)(close + 1 - data)};
        }
        int64_t kind = last; /* most often that of the one before */
        if (kind == count || !alike(metadata, strings, row, firsts[kind]))
            for (kind = 0; kind < count && !alike(metadata, strings, row, firsts[kind]);)
                kind++;
        if (kind == count) {
            if (count == most)
                return -1;
            firsts[count++] = row;
        }
        kinds[row] = (uint8_t)kind;
        last = kind;
    }
    return count;
}

/* What is written of metadata of one kind: what comes before the id, and the time as JSON; null where that is the string
   in the row's own metadata, or if there is none there, its `times`. */
struct words {
    const uint8_t *before;
    int64_t before_size;
    const uint8_t *time;
    int64_t time_size;
};

/* Counts what is written; it is, where there is room for it. */
struct output {
    uint8_t *data;
    int64_t size;
};

static void put(struct output *output, const uint8_t *data, int64_t size) {
    if (output->data)
        memcpy(output->data + output->size, data, (size_t)size);
    output->size += size;
}

static void put_text(struct output *output, const char *text) {
    put(output, (const uint8_t *)text, (int64_t)strlen(text));
}

static int space(uint8_t byte) {
    return byte == ' ' || ('\t' <= byte && byte <= '\r');
}

/* Everything of an object but its closing brace and what comes after that, and the name of the member to add. */
static int put_body(struct output *output, const uint8_t *data, int64_t size) {
    while (size > 0 && space(data[size - 1]))
        size--;
    if (size < 2 || data[size - 1] != '}')
        return 0;
    size--;
    put(output, data, size);
    while (size > 0 && space(data[size - 1]))
        size--;
    put_text(output, size > 0 && data[size - 1] == '{' ? "\"@metadata\":{" : ",\"@metadata\":{"); /* is it empty? */
    return 1;
}

/* Writes the documents, with a separator between them, to `out`, which may be null. `columns` are body, id, metadata and
   times; an id is JSON, or all are `bare` and want only quotes. The bytes, or -1 where a column or a body is none. */
int64_t muniment_dump(int64_t rows, const struct column *columns, const uint8_t *kinds, const struct words *words,
                      const struct span *strings, int64_t bare, int64_t separator, uint8_t *out) {
    const struct column *bodies = columns, *ids = columns + 1, *metadata = columns + 2, *times = columns + 3;
    struct output output = {out, 0};
    const uint8_t between = (uint8_t)separator;
    for (int64_t row = 0; row < rows; row++) {
        const struct words *of = words + kinds[row];
        struct span string = strings[row];
        if (!(within(bodies, row) && within(ids, row) && within(metadata, row) && within(times, row)))
            return -1;
        if (row)
            put(&output, &between, 1);
        if (!put_body(&output, beginning(bodies, row), length(bodies, row)))
            return -1;
        put(&output, of->before, of->before_size);
        put_text(&output, bare ? "\"@id\":\"" : "\"@id\":");
        put(&output, beginning(ids, row), length(ids, row));
        put_text(&output, bare ? "\",\"@last-modified\":" : ",\"@last-modified\":");
        if (of->time)
            put(&output, of->time, of->time_size);
        else if (string.end > 0)
            put(&output, beginning(metadata, row) + string.start, string.end - string.start);
        else
            put(&output, beginning(times, row), length(times, row));
        put_text(&output, "}}");
    }
    return output.size;
}

static int digit(uint8_t byte) {
    return '0' <= byte && byte <= '9';
}

static int in_exponent(uint8_t byte) {
    return digit(byte) || byte == '+';
}

/* Whether the exponent that begins here is long, and that of a number, not within a word such as an id in hexadecimal
   digits. */
static int large(const uint8_t *data, const uint8_t *at, const uint8_t *end) {
    if (at == data || end - at < 4 || !in_exponent(at[-1]) ||
        !(in_exponent(at[1]) && in_exponent(at[2]) && in_exponent(at[3])))
        return 0;
    while (at > data && (in_exponent(at[-1]) || at[-1] == '.' || at[-1] == '-'))
        at--;
    return at > data && memchr(":[, \t\r\n", at[-1], 7) != NULL;
}

static int begins(const uint8_t *at, const uint8_t *end, const char *mark) {
    size_t size = strlen(mark);
    return (size_t)(end - at) >= size && memcmp(at, mark, size) == 0;
}

/* Whether a character of `@metadata` may be written as an escape here. */
static int escaped(const uint8_t *at, const uint8_t *end) {
    return begins(at, end, "\\u004") || begins(at, end, "\\u006") || begins(at, end, "\\u007");
}

/* Whether there may be in JSON a member `@metadata` (MEMBER), or a number that no double can hold (NUMBER). */
int muniment_signs(const uint8_t *data, int64_t size) {
    const uint8_t *end = data + size;
    uint8_t signs[256] = {0};
    int found = 0;
    signs['e'] = signs['E'] = NUMBER;
    signs['@'] = signs['\\'] = MEMBER;
    for (const uint8_t *at = data; at < end; at++) {
        uint8_t sign = signs[*at];
        if (sign && (sign == NUMBER ? large(data, at, end) : begins(at, end, "@metadata") || escaped(at, end)))
            found |= sign;
    }
    /* Fewer digits need an exponent of three for that. At least one of so many in a row is at such a place; and the first
       such row says it, for a long one has many of these places. */
    for (int64_t place = 0; place < size && !(found & NUMBER); place += DIGITS) {
        int64_t first = place, last = place;
        while (first >= 0 && digit(data[first]))
            first--;
        while (last < size && digit(data[last]))
            last++;
        if (last - first - 1 >= DIGITS)
            found |= NUMBER;
    }
    return found;
}
