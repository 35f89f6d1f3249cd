/* A column of byte strings, as `revision.Packed` has it: value i is data[offsets[i] .. offsets[i + 1]]. */

#include <stddef.h>
#include <stdint.h>

struct column {
    const int32_t *offsets;
    const uint8_t *data;
    int64_t size;
};

static inline int within(const struct column *column, int64_t row) {
    int32_t start = column->offsets[row], end = column->offsets[row + 1];
    return 0 <= start && start <= end && end <= column->size;
}

static inline const uint8_t *beginning(const struct column *column, int64_t row) {
    return column->data + column->offsets[row];
}

static inline uint32_t length(const struct column *column, int64_t row) {
    return (uint32_t)(column->offsets[row + 1] - column->offsets[row]);
}

/* The values of a column to be written: numbers; or bytes, that may be text. `absent` has a byte for each row that has no
   value, or is null. */
struct values {
    const int64_t *numbers;
    struct column bytes;
    const uint8_t *absent;
    int64_t text;
};
