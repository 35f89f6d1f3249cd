/* A batch of columns as rows of PostgreSQL's COPY in its binary format, in one call outside Python's global lock:
   `storage/postgres/copying` does the same in Python, with an object for each value. */

#include <stdint.h>
#include <string.h>

/* As in rows.c; of numbers, those that are `text` have two bytes, and others eight. */
struct values {
    const int64_t *numbers;
    const int32_t *offsets;
    const uint8_t *data;
    int64_t size;
    const uint8_t *absent;
    int64_t text;
};

static uint8_t *put(uint8_t *out, uint64_t number, int bytes) {
    for (int place = bytes - 1; place >= 0; place--)
        *out++ = (uint8_t)(number >> (8 * place));
    return out;
}

/* The bytes that were written; -1 where a column is none, or there is not room enough. */
int64_t muniment_copies(int64_t rows, const struct values *columns, int width, uint8_t *out, int64_t room) {
    const uint8_t *end = out + room;
    uint8_t *at = out;
    for (int64_t row = 0; row < rows; row++) {
        if (end - at < 2)
            return -1;
        at = put(at, (uint64_t)width, 2);
        for (int place = 0; place < width; place++) {
            const struct values *values = columns + place;
            if (end - at < 12)
                return -1;
            if (values->absent && values->absent[row]) {
                at = put(at, UINT32_MAX, 4); /* null */
            } else if (values->numbers) {
                int bytes = values->text ? 2 : 8;
                at = put(put(at, (uint64_t)bytes, 4), (uint64_t)values->numbers[row], bytes);
            } else {
                int32_t start = values->offsets[row], stop = values->offsets[row + 1];
                if (start < 0 || start > stop || stop > values->size || end - at - 4 < stop - start)
                    return -1;
                at = put(at, (uint64_t)(stop - start), 4);
                memcpy(at, values->data + start, (size_t)(stop - start));
                at += stop - start;
            }
        }
    }
    return at - out;
}
