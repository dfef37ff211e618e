/* A UVC camera without one: preloaded into a process, it answers for a device node as the kernel does.
 *
 * TANDEM_V4L2 names a folder. Its file `video` stands for the node: while it is there, a camera is
 * plugged in; taken away, the camera is. Frames come from 0.MJPG, 1.MJPG … and 0.YUYV …, of 640x480.
 * A file `silent` stops them. What was set is written to the file `set`.
 * Offered: MJPG 640x480 at 30 and 15 Hz, YUYV 640x480 at 15 Hz. One program may stream at a time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 640
#define HEIGHT 480
#define BYTES (WIDTH * HEIGHT * 2)
#define BUFFERS 10

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ours = -1, guest = -1, kernel_side = -1, streaming, gone;
static unsigned format = V4L2_PIX_FMT_YUYV, rate = 15, buffers, frame;
static struct { void *memory; int queued, done; struct v4l2_buffer told; } buffer[BUFFERS];
static pthread_t sensor;

static int file_in_folder(char *path, const char *name) {
    snprintf(path, 512, "%s/%s", getenv("TANDEM_V4L2") ? getenv("TANDEM_V4L2") : "/nowhere", name);
    return access(path, F_OK) == 0;
}

static int is_node(const char *path) {
    char node[512];
    file_in_folder(node, "video");
    return path && strcmp(path, node) == 0;
}

static void note(const char *what, long value) {
    char path[512];
    file_in_folder(path, "set");
    FILE *file = fopen(path, "a");
    if (file) { fprintf(file, "%s=%ld\n", what, value); fclose(file); }
}

static void expose(void) { /* fill the buffer that was queued first */
    char name[64], path[512];
    int best = -1;
    for (unsigned i = 0; i < buffers; i++)
        if (buffer[i].queued && (best < 0 || buffer[i].queued < buffer[best].queued)) best = i;
    frame++;
    if (best < 0) return; /* nowhere to put it: lost */
    snprintf(name, sizeof name, "%u.%.4s", frame % 8, (char *)&format);
    file_in_folder(path, name);
    FILE *file = fopen(path, "rb");
    if (!file) return;
    struct v4l2_buffer *told = &buffer[best].told;
    told->bytesused = fread(buffer[best].memory, 1, BYTES, file);
    fclose(file);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    told->timestamp.tv_sec = now.tv_sec;
    told->timestamp.tv_usec = now.tv_nsec / 1000;
    told->sequence = frame;
    buffer[best].queued = 0;
    buffer[best].done = frame;
    if (write(kernel_side, "x", 1) != 1) abort();
}

static void *run_sensor(void *unused) {
    char path[512];
    while (1) {
        usleep(1000000 / rate);
        pthread_mutex_lock(&lock);
        int over = !streaming;
        if (!over && !file_in_folder(path, "video")) {
            gone = 1;
            streaming = 0;
            close(kernel_side); /* whoever polls is woken, as by a hub that lost its device */
            kernel_side = -1;
            over = 1;
        }
        if (!over && !file_in_folder(path, "silent")) expose();
        pthread_mutex_unlock(&lock);
        if (over) return unused;
    }
}

static int number;

static int dequeue(struct v4l2_buffer *asked) {
    char byte;
    int best = -1;
    if (gone) { errno = ENODEV; return -1; }
    for (unsigned i = 0; i < buffers; i++)
        if (buffer[i].done && (best < 0 || buffer[i].done < buffer[best].done)) best = i;
    if (best < 0) { errno = EAGAIN; return -1; }
    if (recv(ours, &byte, 1, MSG_DONTWAIT) != 1) { errno = EAGAIN; return -1; }
    buffer[best].done = 0;
    *asked = buffer[best].told;
    asked->index = best;
    asked->type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    asked->memory = V4L2_MEMORY_MMAP;
    asked->length = BYTES;
    asked->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_TSTAMP_SRC_SOE;
    return 0;
}

static int stop(void) {
    int was = streaming;
    streaming = 0;
    pthread_mutex_unlock(&lock);
    if (was) pthread_join(sensor, NULL);
    pthread_mutex_lock(&lock);
    char byte;
    while (ours >= 0 && recv(ours, &byte, 1, MSG_DONTWAIT) == 1) {}
    for (unsigned i = 0; i < BUFFERS; i++) buffer[i].queued = buffer[i].done = 0;
    return 0;
}

static void shape(struct v4l2_format *asked) {
    struct v4l2_pix_format *pix = &asked->fmt.pix;
    memset(pix, 0, sizeof *pix);
    pix->width = WIDTH;
    pix->height = HEIGHT;
    pix->pixelformat = format;
    pix->field = V4L2_FIELD_NONE;
    pix->bytesperline = format == V4L2_PIX_FMT_YUYV ? WIDTH * 2 : 0;
    pix->sizeimage = BYTES;
}

static int enumerate(struct v4l2_frmivalenum *asked) {
    unsigned offered = asked->pixel_format == V4L2_PIX_FMT_MJPEG ? 2 : 1;
    if (asked->index >= offered || asked->width != WIDTH) return -1;
    asked->type = V4L2_FRMIVAL_TYPE_DISCRETE;
    asked->discrete.numerator = 1;
    asked->discrete.denominator = offered == 2 && asked->index == 0 ? 30 : 15;
    return 0;
}

static int answer(unsigned long request, void *argument) {
    static const unsigned formats[] = {V4L2_PIX_FMT_MJPEG, V4L2_PIX_FMT_YUYV};
    struct v4l2_capability *can = argument;
    struct v4l2_fmtdesc *described = argument;
    struct v4l2_frmsizeenum *size = argument;
    struct v4l2_format *asked = argument;
    struct v4l2_streamparm *timing = argument;
    struct v4l2_requestbuffers *wanted = argument;
    struct v4l2_buffer *one = argument;
    struct v4l2_input *input = argument;
    struct v4l2_control *control = argument;
    struct v4l2_queryctrl *query = argument;
    char path[512];
    if (gone || !file_in_folder(path, "video")) { errno = ENODEV; return -1; }
    errno = EINVAL;
    switch (request) {
    case VIDIOC_QUERYCAP:
        memset(can, 0, sizeof *can);
        strcpy((char *)can->driver, "uvcvideo");
        strcpy((char *)can->card, "Emulated Webcam");
        strcpy((char *)can->bus_info, "usb-emulated-1");
        can->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        can->capabilities = can->device_caps | V4L2_CAP_DEVICE_CAPS;
        return 0;
    case VIDIOC_ENUMINPUT:
        if (input->index) return -1;
        input->type = V4L2_INPUT_TYPE_CAMERA;
        return 0;
    case VIDIOC_G_INPUT: *(int *)argument = 0; return 0;
    case VIDIOC_S_INPUT: return 0;
    case VIDIOC_ENUM_FMT:
        if (described->index > 1) return -1;
        described->pixelformat = formats[described->index];
        strcpy((char *)described->description, described->index ? "YUYV 4:2:2" : "Motion-JPEG");
        return 0;
    case VIDIOC_ENUM_FRAMESIZES:
        if (size->index) return -1;
        size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
        size->discrete.width = WIDTH;
        size->discrete.height = HEIGHT;
        return 0;
    case VIDIOC_ENUM_FRAMEINTERVALS: return enumerate(argument);
    case VIDIOC_S_FMT:
        if (streaming) { errno = EBUSY; return -1; }
        if (asked->fmt.pix.pixelformat == V4L2_PIX_FMT_MJPEG) format = V4L2_PIX_FMT_MJPEG;
        else format = V4L2_PIX_FMT_YUYV; /* whatever else was wanted, as a driver may */
        if (format == V4L2_PIX_FMT_YUYV) rate = 15;
        shape(asked);
        return 0;
    case VIDIOC_G_FMT: case VIDIOC_TRY_FMT: shape(asked); return 0;
    case VIDIOC_S_PARM:
        if (timing->parm.capture.timeperframe.numerator)
            rate = format == V4L2_PIX_FMT_MJPEG && 2 * timing->parm.capture.timeperframe.denominator
                    > 45 * timing->parm.capture.timeperframe.numerator ? 30 : 15;
        /* fall through */
    case VIDIOC_G_PARM:
        timing->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        timing->parm.capture.timeperframe = (struct v4l2_fract){1, rate};
        return 0;
    case VIDIOC_REQBUFS:
        if (streaming) { errno = EBUSY; return -1; }
        if (wanted->count > BUFFERS) wanted->count = BUFFERS;
        buffers = wanted->count;
        return 0;
    case VIDIOC_QUERYBUF:
        if (one->index >= buffers) return -1;
        one->length = BYTES;
        one->m.offset = one->index * BYTES;
        return 0;
    case VIDIOC_QBUF:
        if (one->index >= buffers) return -1;
        buffer[one->index].queued = ++number;
        buffer[one->index].done = 0;
        return 0;
    case VIDIOC_DQBUF: return dequeue(one);
    case VIDIOC_STREAMON:
        if (streaming) { errno = EBUSY; return -1; }
        streaming = 1;
        return pthread_create(&sensor, NULL, run_sensor, NULL) ? -1 : 0;
    case VIDIOC_STREAMOFF: return stop();
    case VIDIOC_QUERYCTRL:
        if (query->id != V4L2_CID_EXPOSURE_ABSOLUTE && query->id != V4L2_CID_EXPOSURE_AUTO) return -1;
        query->minimum = 1;
        query->maximum = query->id == V4L2_CID_EXPOSURE_AUTO ? 3 : 5000;
        query->step = 1;
        query->type = V4L2_CTRL_TYPE_INTEGER;
        query->flags = 0;
        return 0;
    case VIDIOC_S_CTRL:
        if (control->id == V4L2_CID_EXPOSURE_ABSOLUTE) note("exposure", control->value);
        else if (control->id == V4L2_CID_EXPOSURE_AUTO) note("auto", control->value);
        else return -1;
        return 0;
    }
    return -1;
}

/* What the second one who opened it may not do: like uvcvideo, which lets anybody look. */
static int takes_over(unsigned request) {
    return request == VIDIOC_S_FMT || request == VIDIOC_S_PARM || request == VIDIOC_REQBUFS
        || request == VIDIOC_STREAMON || request == VIDIOC_STREAMOFF || request == VIDIOC_DQBUF;
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    if (!real) real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (fd < 0 || (fd != ours && fd != guest)) return real(fd, request, argument);
    pthread_mutex_lock(&lock);
    int result = -1;
    errno = EBUSY;
    if (fd == ours || !takes_over((unsigned)request)) result = answer((unsigned)request, argument);
    int why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return result;
}

int close(int fd);

static int opened(const char *path) {
    int pair[2];
    if (access(path, F_OK)) return -1;
    if (guest >= 0) { errno = EBUSY; return -1; } /* two at a time are enough for whoever asks */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) return -1;
    if (ours >= 0) { close(pair[1]); return guest = pair[0]; }
    ours = pair[0];
    kernel_side = pair[1];
    gone = streaming = 0;
    return ours;
}

#define OPENS(name)                                                                                \
    int name(const char *path, int flags, ...) {                                                   \
        static int (*real)(const char *, int, ...);                                                \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        int mode = va_arg(rest, int);                                                              \
        va_end(rest);                                                                              \
        return is_node(path) ? opened(path) : real(path, flags, mode);                             \
    }
OPENS(open)
OPENS(open64)

int close(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd == guest) guest = -1;
    if (fd >= 0 && fd == ours) {
        pthread_mutex_lock(&lock);
        stop();
        if (kernel_side >= 0) real(kernel_side);
        kernel_side = ours = -1;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

#define MAPS(name, offset_type)                                                                    \
    void *name(void *at, size_t length, int protection, int flags, int fd, offset_type offset) {   \
        static void *(*real)(void *, size_t, int, int, int, offset_type);                          \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                                 \
        if (fd < 0 || fd != ours) return real(at, length, protection, flags, fd, offset);          \
        void *memory = real(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); \
        buffer[offset / BYTES].memory = memory;                                                    \
        return memory;                                                                             \
    }
MAPS(mmap, off_t)
MAPS(mmap64, off64_t)
