#!/bin/sh
# Makes a container's root of what this machine has, in the namespaces it is started in, and becomes what is to run.
#
# ROOT        empty directory, which becomes the root
# WRITABLE    whether the root stays so: yes or no
# SHELL_OF    the shell
# PROGRAMS    one a line: a program of this machine, tab, its name in the image
# MOUNTS      one a line: a file or directory of this machine, tab, its path in the container
# HIDDEN      patterns of files, separated by spaces, that are empty in the container
# RESOLVER    address of the resolver
# Arguments: the command, which has to change its root.
set -eu

cd /
mount -t tmpfs tmpfs "$ROOT"
cd "$ROOT"
mkdir -p etc proc dev run tmp usr/bin .lab
ln -s bin usr/sbin
ln -s usr/bin usr/sbin .
mount -t proc proc proc
mount --rbind /dev dev

for name in usr/lib usr/lib64 usr/lib32 usr/libexec lib lib64 lib32; do
  if [ -L "/$name" ]; then
    cp -P "/$name" "$name"
  elif [ -d "/$name" ]; then
    mkdir "$name"
    mount --rbind "/$name" "$name"
  fi
done
for name in passwd group nsswitch.conf protocols services ld.so.cache hosts; do
  cp -a "/etc/$name" etc/ 2>/dev/null || true
done
echo "nameserver $RESOLVER" >etc/resolv.conf

cp "$SHELL_OF" usr/bin/sh
# Programs keep their own name, which some of them look at, and get the other as a link.
tab=$(printf '\t')
while IFS=$tab read -r program name; do
  own=${program##*/}
  [ -e "usr/bin/$own" ] || cp "$program" usr/bin/
  [ "$own" = "$name" ] || ln -s "$own" "usr/bin/$name"
done <<END
$PROGRAMS
END

# How rights are given up, which is not on PATH.
cp "$(command -v setpriv)" .lab/

for each in $HIDDEN; do
  mount --bind /dev/null "$each"
done
while IFS=$tab read -r source target; do
  if [ -d "$source" ]; then
    mkdir -p "$ROOT$target"
  else
    mkdir -p "$(dirname "$ROOT$target")"
    touch "$ROOT$target"
  fi
  mount --bind "$source" "$ROOT$target"
done <<END
$MOUNTS
END
[ "$WRITABLE" = yes ] || mount -o remount,bind,ro "$ROOT"
exec "$@"
