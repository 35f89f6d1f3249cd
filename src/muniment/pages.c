/* Pages that SQLite writes to a file one after the other, given to the system together: it takes half as long to take
   in 64 KiB at once as in eight parts. Only for a file that nobody else sees until `muniment_gathered` has said that
   all of it was written, for what closes the file does not tell who closed it of an error.

   What SQLite calls for a file is in a table that the file points to (`sqlite3_io_methods` in sqlite3.h). Here it points
   to another one, in which what writes and reads is ours, and all else as it was. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SQLITE_OK = 0, SQLITE_NOMEM = 7, SQLITE_MISUSE = 21 };
enum { TOGETHER = 64 << 10 }; /* the largest page that SQLite has, and so the most that it writes at once */

struct file;

/* The methods of version 1, which every file has. Later ones share and map memory, which such a file does not need. */
struct methods {
    int version;
    int (*close)(struct file *file);
    int (*read)(struct file *file, void *data, int size, int64_t place);
    int (*write)(struct file *file, const void *data, int size, int64_t place);
    int (*truncate)(struct file *file, int64_t size);
    int (*sync)(struct file *file, int flags);
    int (*size)(struct file *file, int64_t *size);
    int (*lock)(struct file *file, int kind);
    int (*unlock)(struct file *file, int kind);
    int (*reserved)(struct file *file, int *found);
    int (*control)(struct file *file, int what, void *about);
    int (*sector)(struct file *file);
    int (*characteristics)(struct file *file);
};

struct file {
    const struct methods *methods;
};

struct pages {
    struct methods methods; /* first, so that what a file points to leads to all of this */
    const struct methods *before;
    int64_t place;
    int size;
    uint8_t data[TOGETHER];
};

static struct pages *waiting(struct file *file) {
    return (struct pages *)file->methods;
}

/* Writes what waits, which goes on waiting if it cannot be written. */
static int flush(struct file *file) {
    struct pages *pages = waiting(file);
    int code = pages->size ? pages->before->write(file, pages->data, pages->size, pages->place) : SQLITE_OK;
    if (code == SQLITE_OK)
        pages->size = 0;
    return code;
}

static int write_later(struct file *file, const void *data, int size, int64_t place) {
    struct pages *pages = waiting(file);
    int code = SQLITE_OK;
    if (place != pages->place + pages->size || size > TOGETHER - pages->size)
        code = flush(file);
    if (code != SQLITE_OK)
        return code;
    if (size > TOGETHER)
        return pages->before->write(file, data, size, place);
    if (!pages->size)
        pages->place = place;
    memcpy(pages->data + pages->size, data, (size_t)size);
    pages->size += size;
    return SQLITE_OK;
}

static int read_written(struct file *file, void *data, int size, int64_t place) {
    struct pages *pages = waiting(file);
    int apart = place >= pages->place + pages->size || pages->place >= place + size;
    int code = apart ? SQLITE_OK : flush(file);
    return code == SQLITE_OK ? pages->before->read(file, data, size, place) : code;
}

static int truncate_written(struct file *file, int64_t size) {
    int code = flush(file);
    return code == SQLITE_OK ? waiting(file)->before->truncate(file, size) : code;
}

static int sync_written(struct file *file, int flags) {
    int code = flush(file);
    return code == SQLITE_OK ? waiting(file)->before->sync(file, flags) : code;
}

static int size_written(struct file *file, int64_t *size) {
    int code = flush(file);
    return code == SQLITE_OK ? waiting(file)->before->size(file, size) : code;
}

static int close_written(struct file *file) {
    struct pages *pages = waiting(file);
    int code = flush(file);
    file->methods = pages->before;
    free(pages);
    int closed = file->methods->close(file);
    return code == SQLITE_OK ? closed : code;
}

/* From now on pages of this file wait for those that come after them. */
int muniment_gather(struct file *file) {
    struct pages *pages = file && file->methods ? malloc(sizeof *pages) : NULL;
    if (!pages)
        return file && file->methods ? SQLITE_NOMEM : SQLITE_MISUSE;
    pages->before = file->methods;
    pages->methods = *file->methods;
    pages->methods.version = 1;
    pages->methods.close = close_written;
    pages->methods.read = read_written;
    pages->methods.write = write_later;
    pages->methods.truncate = truncate_written;
    pages->methods.sync = sync_written;
    pages->methods.size = size_written;
    pages->place = 0;
    pages->size = 0;
    file->methods = &pages->methods;
    return SQLITE_OK;
}

/* Writes what waits; no page does from now on, unless that fails. Nothing is done for a file that was not gathered. */
int muniment_gathered(struct file *file) {
    if (!file || !file->methods || file->methods->close != close_written)
        return SQLITE_OK;
    struct pages *pages = waiting(file);
    int code = flush(file);
    if (code == SQLITE_OK) {
        file->methods = pages->before;
        free(pages);
    }
    return code;
}
