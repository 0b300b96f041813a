// A part of a JPEG by libjpeg-turbo, which then computes no other pixels, though it reads the file down to there. See
// jpeg_part.py.

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "libjpeg-turbo 2.1 or later is needed: earlier ones cut less exactly, and other libjpegs cannot cut"
#endif

constexpr JDIMENSION ROWS = 16;  // that are asked for at once
constexpr int LONGEST = JPEG_MAX_DIMENSION;  // side of a picture
constexpr JDIMENSION BESIDE = 2;  // columns on both sides, from which colours are smoothed (of one they are repeated)

struct Errors {
    jpeg_error_mgr manager;  // first, as the library knows it alone
    std::jmp_buf leave;
};

static void leave(j_common_ptr info) { std::longjmp(reinterpret_cast<Errors*>(info->err)->leave, 1); }

static void say_nothing(j_common_ptr) {}

struct Box {
    JDIMENSION left, top, width, height;
};

// Whether scans of a progressive file are missing, in whose place blocks are smoothed from their neighbours.
static bool is_unfinished(const jpeg_decompress_struct& info) {
    for (int component = 0; info.coef_bits && component < info.num_components; ++component)
        for (int k = 0; k < DCTSIZE2; ++k)
            if (info.coef_bits[component][k] != 0) return true;
    return false;
}

// Whether the box lies in the picture and its pixels were decoded without a warning.
static bool decode(jpeg_decompress_struct& info, int eighths, Box box, std::uint8_t* pixels) {
    jpeg_read_header(&info, TRUE);
    info.scale_num = eighths, info.scale_denom = 8, info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info);
    if (info.output_components != 3) return false;
    if (box.left + box.width > info.output_width || box.top + box.height > info.output_height) return false;
    if (is_unfinished(info)) return false;
    JDIMENSION first = box.left - (box.left < BESIDE ? box.left : BESIDE);
    JDIMENSION last = box.left + box.width + BESIDE;
    if (last > info.output_width) last = info.output_width;
    JDIMENSION columns = last - first;
    jpeg_crop_scanline(&info, &first, &columns);  // moves both out to whole blocks
    if (box.left < first || box.left + box.width > first + columns || info.output_width > columns) return false;
    if (jpeg_skip_scanlines(&info, box.top) != box.top) return false;
    const std::size_t skipped = 3 * std::size_t(box.left - first), row = 3 * std::size_t(box.width);
    JSAMPARRAY rows = info.mem->alloc_sarray(reinterpret_cast<j_common_ptr>(&info), JPOOL_IMAGE, 3 * columns, ROWS);
    for (JDIMENSION y = 0; y < box.height;) {
        const JDIMENSION wanted = box.height - y < ROWS ? box.height - y : ROWS;
        const JDIMENSION got = jpeg_read_scanlines(&info, rows, wanted);
        if (got == 0) return false;
        for (JDIMENSION i = 0; i < got; ++i, ++y, pixels += row) std::memcpy(pixels, rows[i] + skipped, row);
    }
    return info.err->num_warnings == 0;
}

// Raised, with VERSION in jpeg_part.py, whenever jpeg_part takes or leaves something else than before.
extern "C" int jpeg_part_version() { return 1; }

// pixels: [height][width][3], of the picture at eighths/8 of its size. 1 if they were decoded, else 0.
extern "C" int jpeg_part(const std::uint8_t* data, std::int64_t size, int eighths, int left, int top, int width,
                         int height, std::uint8_t* pixels) {
    if (data == nullptr || pixels == nullptr || size <= 0 || eighths < 1 || eighths > 8) return 0;
    if (left < 0 || top < 0 || width < 1 || height < 1) return 0;
    if (left > LONGEST - width || top > LONGEST - height) return 0;
    Errors errors;
    jpeg_decompress_struct info{};  // whatever is given back before it is made
    info.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = leave;
    errors.manager.output_message = say_nothing;
    volatile bool decoded = false;  // as setjmp returns to what was in memory
    if (setjmp(errors.leave) == 0) {
        jpeg_create_decompress(&info);
        jpeg_mem_src(&info, data, static_cast<unsigned long>(size));
        const Box box{JDIMENSION(left), JDIMENSION(top), JDIMENSION(width), JDIMENSION(height)};
        decoded = decode(info, eighths, box, pixels);
    }
    jpeg_destroy_decompress(&info);
    return decoded;
}
