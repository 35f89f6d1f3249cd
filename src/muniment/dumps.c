/* Cuts documents out of the bytes of a dump and proves them, in one call outside Python's global lock: `smuggler/cut.py`.

   It takes only what is written as RavenDB writes it: JSON in UTF-8 without a doubt, `@metadata` last in a document, and
   in that nothing that an import looks at but the id. It stops before anything else, which Python then reads, or
   refuses, by itself; so it need not know what is wrong with what it does not take. */

#include "column.h"

#include <string.h>

enum { DEPTH = 64, SHAPES = 32, ID = 512, METADATA = 2048, RATHER_LARGE = 1 << 20 };

/* What was cut, by rows; places are in the bytes that were given. `ids` and `bodies` have room for all of these.
   `shapes` says which documents have metadata that differ in nothing but the values of `@id`, `@change-vector` and
   `@last-modified`; `times` are the beginning and the end of the last one's, with its quotes, or 0. */
struct cut {
    int64_t *positions;
    int32_t *id_offsets;
    uint8_t *ids;
    int32_t *body_offsets;
    uint8_t *bodies;
    int32_t *metadata;
    int32_t *times;
    uint8_t *shapes;
};

struct shape {
    int size;
    uint8_t bytes[METADATA];
};

struct metadata {
    const uint8_t *start, *end, *id, *id_end, *time, *time_end;
    struct shape shape;
};

static const uint8_t *space(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at;
}

static int hexadecimal(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

static int follows(uint8_t byte) { return (byte & 0xc0) == 0x80; }

/* How many bytes a character outside of ASCII has, 0 if it is not UTF-8. */
static int character(const uint8_t *at, const uint8_t *end) {
    if (*at >= 0xc2 && *at <= 0xdf)
        return end - at >= 2 && follows(at[1]) ? 2 : 0;
    if (*at >= 0xe0 && *at <= 0xef) {
        if (end - at < 3 || !follows(at[1]) || !follows(at[2]))
            return 0;
        if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f)) /* too long, or half a surrogate pair */
            return 0;
        return 3;
    }
    if (*at >= 0xf0 && *at <= 0xf4) {
        if (end - at < 4 || !follows(at[1]) || !follows(at[2]) || !follows(at[3]))
            return 0;
        if ((*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f))
            return 0;
        return 4;
    }
    return 0;
}

/* Eight bytes at once: whether each is ASCII, and neither a quote, a backslash nor a control character. */
static int ordinary(const uint8_t *at) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    uint64_t word, quote, backslash;
    memcpy(&word, at, 8);
    quote = word ^ (ones * '"');
    backslash = word ^ (ones * '\\');
    return !((((word - ones * 0x20) | (quote - ones) | (backslash - ones)) | word) & high);
}

/* The end of the string that begins here, NULL if it is none; `escaped` is set if there is a backslash in it. */
static const uint8_t *string(const uint8_t *at, const uint8_t *end, int *escaped) {
    if (at == end || *at++ != '"')
        return NULL;
    while (at < end) {
        if (end - at >= 8 && ordinary(at)) {
            at += 8;
        } else if (*at == '"') {
            return at + 1;
        } else if (*at == '\\') {
            *escaped = 1;
            if (end - at < 2)
                return NULL;
            if (at[1] == 'u') {
                if (end - at < 6)
                    return NULL;
                for (int i = 2; i < 6; i++)
                    if (!hexadecimal(at[i]))
                        return NULL;
                at += 6;
            } else if (memchr("\"\\/bfnrt", at[1], 8)) {
                at += 2;
            } else {
                return NULL;
            }
        } else if (*at < 0x20) {
            return NULL;
        } else if (*at < 0x80) {
            at++;
        } else {
            int size = character(at, end);
            if (!size)
                return NULL;
            at += size;
        }
    }
    return NULL;
}

static const uint8_t *digits(const uint8_t *at, const uint8_t *end) {
    const uint8_t *first = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > first ? at : NULL;
}

static const uint8_t *number(const uint8_t *at, const uint8_t *end) {
    if (at < end && *at == '-')
        at++;
    if (at < end && *at == '0')
        at++;
    else if (!(at = digits(at, end)))
        return NULL;
    if (at < end && *at == '.' && !(at = digits(at + 1, end)))
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = digits(at, end);
    }
    return at;
}

static const uint8_t *word(const uint8_t *at, const uint8_t *end, const char *wanted, size_t size) {
    return (size_t)(end - at) >= size && !memcmp(at, wanted, size) ? at + size : NULL;
}

/* After a name: where its value begins. */
static const uint8_t *colon(const uint8_t *at, const uint8_t *end) {
    at = space(at, end);
    return at < end && *at == ':' ? space(at + 1, end) : NULL;
}

/* The end of the value that begins here, NULL if it is none, or not all of it is here, or it is nested deeply. */
static const uint8_t *value(const uint8_t *at, const uint8_t *end, int depth) {
    int escaped;
    if (at == end)
        return NULL;
    switch (*at) {
    case '"':
        return string(at, end, &escaped);
    case 't':
        return word(at, end, "true", 4);
    case 'f':
        return word(at, end, "false", 5);
    case 'n':
        return word(at, end, "null", 4);
    case '{':
    case '[':
        break;
    default:
        return number(at, end);
    }
    uint8_t closing = *at == '{' ? '}' : ']';
    if (depth == DEPTH)
        return NULL;
    at = space(at + 1, end);
    if (at < end && *at == closing)
        return at + 1;
    for (;;) {
        if (closing == '}' && (!(at = string(at, end, &escaped)) || !(at = colon(at, end))))
            return NULL;
        if (!(at = value(at, end, depth + 1)))
            return NULL;
        at = space(at, end);
        if (at == end || (*at != ',' && *at != closing))
            return NULL;
        if (*at++ == closing)
            return at;
        at = space(at, end);
    }
}

static int is(const uint8_t *name, const uint8_t *end, const char *wanted) {
    size_t size = strlen(wanted);
    return (size_t)(end - name) == size + 2 && !memcmp(name + 1, wanted, size);
}

static void copy(struct shape *shape, const uint8_t *from, const uint8_t *to) {
    memcpy(shape->bytes + shape->size, from, (size_t)(to - from));
    shape->size += (int)(to - from);
}

/* Reads the metadata that begin here; false for those that are to be looked at, or are none. */
static int metadata(struct metadata *found, const uint8_t *at, const uint8_t *end) {
    const uint8_t *from = at;
    int vectors = 0;
    found->start = at;
    found->id = found->time = NULL;
    found->shape.size = 0;
    if (at == end || *at != '{')
        return 0;
    if (end - at > METADATA)
        end = at + METADATA;
    at = space(at + 1, end);
    for (;;) {
        const uint8_t *name = at, *name_end, *start;
        int escaped = 0;
        if (!(at = name_end = string(at, end, &escaped)) || escaped || !(at = start = colon(at, end)))
            return 0;
        if (is(name, name_end, "@export-type") || is(name, name_end, "@attachments") ||
            is(name, name_end, "@legacy-attachment-metadata") || is(name, name_end, "Raven-Replication-Conflict"))
            return 0;
        if (!(at = value(at, end, 1)))
            return 0;
        int id = is(name, name_end, "@id"), time = is(name, name_end, "@last-modified");
        if (id || time || is(name, name_end, "@change-vector")) {
            /* Exactly what metadata.py takes for a value that varies. */
            if (*start != '"' || !(start == name_end + 1 || (start == name_end + 2 && start[-1] == ' ')))
                return 0;
            if (id ? found->id != NULL : time ? found->time != NULL : vectors++)
                return 0;
            if (id)
                found->id = start + 1, found->id_end = at - 1;
            if (time)
                found->time = start, found->time_end = at;
            copy(&found->shape, from, start);
            from = at;
        }
        at = space(at, end);
        if (at == end || (*at != ',' && *at != '}'))
            return 0;
        if (*at++ == '}')
            break;
        at = space(at, end);
    }
    copy(&found->shape, from, at);
    found->end = at;
    size_t size = (size_t)(at - found->start);
    return found->id && !memchr(found->start, '\\', size) && !memchr(found->start, 0x7f, size);
}

static int is_id(const uint8_t *id, const uint8_t *end) {
    static const uint8_t special[] = "raven/";
    size_t i = 0, size = (size_t)(end - id);
    if (size < 1 || size > ID)
        return 0;
    while (i < 6 && i < size && (id[i] | (id[i] >= 'A' && id[i] <= 'Z' ? 0x20 : 0)) == special[i])
        i++;
    return i < 6;
}

/* Where the document that begins here ends, NULL if it is to be left to Python; `comma` is that before its metadata. */
static const uint8_t *document(const uint8_t *at, const uint8_t *end, const uint8_t **comma, struct metadata *found) {
    if (end - at > RATHER_LARGE)
        end = at + RATHER_LARGE;
    if (at == end || *at != '{')
        return NULL;
    *comma = NULL;
    at = space(at + 1, end);
    for (;;) {
        const uint8_t *name = at;
        int escaped = 0;
        if (!(at = string(at, end, &escaped)) || escaped)
            return NULL;
        int last = is(name, at, "@metadata");
        if (!(at = colon(at, end)))
            return NULL;
        if (last) {
            if (!*comma || !metadata(found, at, end) || !is_id(found->id, found->id_end))
                return NULL;
            at = space(found->end, end);
            return at < end && *at == '}' ? at + 1 : NULL;
        }
        if (!(at = value(at, end, 1)))
            return NULL;
        at = space(at, end);
        if (at == end || *at != ',')
            return NULL;
        *comma = at;
        at = space(at + 1, end);
    }
}

/* Cuts up to so many documents, the first of which begins at `start`, out of data[0 .. size], until they have `most`
   bytes; `origin` is the position of these in the dump. Returns how many there are, and where the last one ends. */
int64_t muniment_cut(const uint8_t *data, int64_t size, int64_t start, int64_t rows, int64_t most, int64_t origin,
                     const struct cut *cut, int64_t *after) {
    static const int64_t largest = INT32_MAX;
    const uint8_t *at = data + start, *end = data + (size < largest ? size : largest);
    int64_t row = 0, shapes = 0;
    struct shape known[SHAPES];
    struct metadata found;
    cut->id_offsets[0] = cut->body_offsets[0] = 0;
    *after = start;
    while (row < rows && at < end && *after - start < most) {
        const uint8_t *comma, *stop = document(at, end, &comma, &found);
        int64_t shape = shapes;
        if (!stop)
            break;
        while (--shape >= 0 && (known[shape].size != found.shape.size ||
                                memcmp(known[shape].bytes, found.shape.bytes, (size_t)found.shape.size)))
            ;
        if (shape < 0) {
            if (shapes == SHAPES)
                break;
            known[shape = shapes++] = found.shape;
        }
        int32_t id = cut->id_offsets[row], body = cut->body_offsets[row];
        size_t id_size = (size_t)(found.id_end - found.id);
        size_t before = (size_t)(comma - at), rest = (size_t)(stop - found.end);
        memcpy(cut->ids + id, found.id, id_size);
        memcpy(cut->bodies + body, at, before);
        memcpy(cut->bodies + body + before, found.end, rest);
        cut->positions[row] = origin + (at - data);
        cut->metadata[2 * row] = (int32_t)(found.start - data);
        cut->metadata[2 * row + 1] = (int32_t)(found.end - data);
        cut->times[2 * row] = found.time ? (int32_t)(found.time - data) : 0;
        cut->times[2 * row + 1] = found.time ? (int32_t)(found.time_end - data) : 0;
        cut->shapes[row] = (uint8_t)shape;
        row++;
        cut->id_offsets[row] = id + (int32_t)id_size;
        cut->body_offsets[row] = body + (int32_t)(before + rest);
        *after = stop - data;
        at = space(stop, end);
        if (at == end || *at != ',')
            break;
        at = space(at + 1, end);
    }
    return row;
}

/* How many of these come before the first that is not certain to be a JSON object from its first byte on. `absent` has a
   byte for each that there is not, or is null. */
int64_t muniment_objects(int64_t rows, const struct column *column, const uint8_t *absent) {
    for (int64_t row = 0; row < rows; row++) {
        if (absent && absent[row])
            continue;
        if (!within(column, row))
            return row;
        const uint8_t *at = beginning(column, row), *end = at + length(column, row);
        if (at == end || *at != '{' || !(at = value(at, end, 0)) || space(at, end) != end)
            return row;
    }
    return rows;
}
