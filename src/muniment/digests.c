/* The digests of a batch of documents, and their sums: `fingerprint.py` has the same in Python, and says what they are.

   Python's hashlib makes an object for each row and, for small ones, holds the global lock meanwhile. This is its loop
   in one call, with the functions of the very libcrypto that hashlib uses; nothing here is cryptography. */

#include "column.h"

#include <string.h>

enum { DIGEST = 32, CONTEXT_WORDS = 32, WORDS = 5, UNCOUNTED = 255 };

struct sha256 {
    int (*init)(void *context);
    int (*update)(void *context, const void *data, size_t size);
    int (*final)(unsigned char *digest, void *context);
};

static void put32(uint8_t *to, uint32_t value) {
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static void put64(uint8_t *to, uint64_t value) {
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static int add(const struct sha256 *sha256, void *context, const struct column *column, int64_t row) {
    size_t size = length(column, row);
    return size == 0 || sha256->update(context, beginning(column, row), size);
}

static int same(const struct column *column, const uint8_t *absent, int64_t row, int64_t other) {
    if (absent && (absent[row] || absent[other]))
        return absent[row] && absent[other];
    uint32_t size = length(column, row);
    return size == length(column, other) &&
           !memcmp(column->data + column->offsets[row], column->data + column->offsets[other], size);
}

/* `columns` are id, metadata, body, collection. `dead` and `unnamed` have a byte for each row that is a tombstone or
   has no collection, or are null. With `made` the members' digests are there already; without `etags` only these are
   made. 0 when everything was done, 1 when a column is not one, 2 when libcrypto failed. */
int muniment_digests(const struct sha256 *sha256, int64_t rows, const struct column *columns, const int64_t *etags,
                     const int64_t *modified, const uint8_t *dead, const uint8_t *unnamed, uint8_t *members,
                     uint8_t *row_digests, int made) {
    const struct column *ids = columns, *metadata = columns + 1, *bodies = columns + 2, *names = columns + 3;
    uint64_t context[CONTEXT_WORDS];
    uint8_t head[22];
    for (int64_t row = 0; row < rows; row++) {
        uint8_t *member = members + row * DIGEST;
        if (!(within(ids, row) && within(metadata, row) && within(bodies, row) && within(names, row)))
            return 1;
        put32(head, length(ids, row));
        put32(head + 4, length(metadata, row));
        if (!made && !(sha256->init(context) && sha256->update(context, head, 8) && add(sha256, context, ids, row) &&
                       add(sha256, context, metadata, row) && add(sha256, context, bodies, row) &&
                       sha256->final(member, context)))
            return 2;
        if (!etags)
            continue;
        put64(head, (uint64_t)etags[row]);
        put64(head + 8, (uint64_t)modified[row]);
        head[16] = 0; /* a document */
        head[17] = dead && dead[row];
        int named = !(unnamed && unnamed[row]);
        put32(head + 18, named ? length(names, row) : UINT32_MAX);
        if (!(sha256->init(context) && sha256->update(context, head, sizeof head) &&
              sha256->update(context, member, DIGEST) && (!named || add(sha256, context, names, row)) &&
              sha256->final(row_digests + row * DIGEST, context)))
            return 2;
    }
    return 0;
}

/* Numbers the different values of a column in the order in which they come first, which is in the rows `first`, and gives
   each row the number of its own; rows without a value, as `absent` has them, have one in common. Returns how many
   there are, -1 if that is more than `most`, -2 when the column is not one. */
int64_t muniment_groups(int64_t rows, const struct column *column, const uint8_t *absent, int64_t most, int64_t *first,
                        uint8_t *group) {
    int64_t groups = 0, found = 0;
    for (int64_t row = 0; row < rows; row++) {
        if (!within(column, row))
            return -2;
        if (row == 0 || !same(column, absent, row, first[found])) /* else it is that of the row before */
            for (found = 0; found < groups && !same(column, absent, row, first[found]);)
                found++;
        if (found == groups) {
            if (groups == most)
                return -1;
            first[groups++] = row;
        }
        group[row] = (uint8_t)found;
    }
    return groups;
}

/* Adds each digest, a number of 256 bits with its largest byte first, to the sum of its group, and 1 and the size of
   its body to what else is counted. A sum is five words, the smallest first. */
int muniment_sums(int64_t rows, const uint8_t *digests, const struct column *bodies, const uint8_t *group,
                  int64_t groups, uint64_t *sums, int64_t *counts, int64_t *sizes) {
    for (int64_t row = 0; row < rows; row++) {
        if (group[row] == UNCOUNTED)
            continue;
        if (group[row] >= groups || !within(bodies, row))
            return 1;
        uint64_t *sum = sums + group[row] * WORDS, carry = 0;
        for (int word = 0; word < WORDS - 1; word++) {
            uint64_t value = 0;
            for (int i = 0; i < 8; i++)
                value = value << 8 | digests[row * DIGEST + 8 * (3 - word) + i];
            uint64_t once = sum[word] + carry, twice = once + value;
            carry = (once < carry) + (twice < value);
            sum[word] = twice;
        }
        sum[WORDS - 1] += carry;
        counts[group[row]]++;
        sizes[group[row]] += length(bodies, row);
    }
    return 0;
}
