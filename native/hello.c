/* The program of the first image: says that everything works. No libc's stdio, to stay small. */
#include <string.h>
#include <unistd.h>

static const char greeting[] =
    "\n"
    "Hello from sampan!\n"
    "\n"
    "You see this because an image was loaded, a container was made from it, and this small\n"
    "static program ran inside: its own root, its own processes, its own network.\n"
    "\n"
    "Next:  sampan run -it --rm IMAGE sh          a shell in any image\n"
    "       sampan ps -a                          what ran\n"
    "       docker -H unix:///run/sampan/sampan.sock info\n"
    "\n";

int main(void)
{
    return write(1, greeting, strlen(greeting)) < 0;
}
