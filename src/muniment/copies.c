/* A batch of columns as rows of PostgreSQL's COPY in its binary format, in one call outside Python's global lock:
   `storage/postgres/copying` does the same in Python, with an object for each value. */

#include "column.h"

#include <string.h>

static uint8_t *put(uint8_t *out, uint64_t number, int bytes) {
    for (int place = bytes - 1; place >= 0; place--)
        *out++ = (uint8_t)(number >> (8 * place));
    return out;
}

/* The bytes that were written; -1 where a column is none, or there is not room enough. Of numbers, those that are `text`
   have two bytes, and others eight. */
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
                if (!within(&values->bytes, row) || end - at - 4 < (int64_t)length(&values->bytes, row))
                    return -1;
                at = put(at, length(&values->bytes, row), 4);
                memcpy(at, beginning(&values->bytes, row), length(&values->bytes, row));
                at += length(&values->bytes, row);
            }
        }
    }
    return at - out;
}
