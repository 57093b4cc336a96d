#!/bin/sh
# Pictures need an OpenGL library (EGL). It is installed where that is possible; all else works without.
have() { ldconfig -p 2>/dev/null | grep -q "$1"; }
if have libEGL.so.1 && have libGL.so.1; then exit 0; fi
packages="libegl1 libgl1 libgl1-mesa-dri"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  (apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages) >/dev/null 2>&1 && exit 0
fi
echo "Pictures of 3-D meshes need an OpenGL library that is not here; all else works. To add it: sudo apt-get install $packages"
exit 0
