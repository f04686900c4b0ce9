#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Linux kernel's own NVMe/TCP target in a qemu guest, made of Debian packages only.

  nvmet_guest.py run --kernel DIR --work DIR --port PORT --nqn NQN --image FILE:BLOCKSIZE...
      Builds an initramfs below --work, then becomes qemu. Namespace N is the Nth image. Ready when
      --work/console has the line "nvmet ready". DIR: an unpacked linux-image package (or /).
  nvmet_guest.py say --work DIR WORD
      Tells the guest "down" (the target's port is taken away, connections go), "up", or "off", and
      waits for its answer.
  nvmet_guest.py check --kernel DIR
      Exit status 0 when everything that "run" needs is there; else says what is missing.
"""
import argparse
import glob
import os
import shutil
import socket
import stat
import sys

MODULES = ["virtio_pci", "virtio_net", "virtio_blk", "crct10dif_generic", "crc64_rocksoft_generic",
           "crc32c_generic", "nvmet", "nvmet-tcp"]
SAY_S = 60  # for the guest's answer, which may be emulated on a busy machine

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m || echo "no module $m"; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
mount -t configfs config /sys/kernel/config
cd /sys/kernel/config/nvmet
mkdir subsystems/@NQN@
echo 1 > subsystems/@NQN@/attr_allow_any_host
n=0
for disk in @DISKS@; do
	n=$((n + 1))
	ns=subsystems/@NQN@/namespaces/$n
	mkdir $ns
	printf /dev/$disk > $ns/device_path
	echo 1 > $ns/enable
done
mkdir ports/1
printf tcp > ports/1/addr_trtype
printf ipv4 > ports/1/addr_adrfam
printf 0.0.0.0 > ports/1/addr_traddr
printf 4420 > ports/1/addr_trsvcid
up() { ln -s /sys/kernel/config/nvmet/subsystems/@NQN@ ports/1/subsystems/@NQN@; }
up && echo "nvmet ready"
# The host's words come on the second serial line.
stty -F /dev/ttyS1 raw -echo
while read -r word; do
	case $word in
	down) rm ports/1/subsystems/@NQN@ && echo ok ;;
	up) up && echo ok ;;
	off) echo ok; sync; poweroff -f ;;
	*) echo "what?" ;;
	esac
done < /dev/ttyS1 > /dev/ttyS1
"""


def fail(text):
    sys.exit(f"nvmet_guest: {text}")


def find_kernel(root):
    """The image and the folder of modules that belong together; the newest 6.1 that has both."""
    for image in sorted(glob.glob(f"{root}/boot/vmlinuz-6.1*"), reverse=True):
        version = os.path.basename(image)[len("vmlinuz-"):]
        for base in ("lib", "usr/lib"):
            modules = f"{root}/{base}/modules/{version}/kernel"
            if os.path.isdir(modules):
                return image, modules
    return None, None


def find_busybox():
    path = shutil.which("busybox")
    if not path:
        return None
    with open(path, "rb") as f:
        # A static program has no interpreter: nothing else of the host is taken along.
        return path if b"ld-linux" not in f.read(4096) else None


def missing(root):
    if not shutil.which("qemu-system-x86_64"):
        return "no qemu-system-x86_64 (package qemu-system-x86)"
    if not find_busybox():
        return "no static busybox (package busybox-static)"
    if not find_kernel(root)[0]:
        return f"no Linux 6.1 with its modules below '{root}' (package linux-image-6.1.0-*-amd64, unpacked)"
    return None


def index_modules(folder):
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".ko"):
                found[name[:-3].replace("-", "_")] = os.path.join(path, name)
    return found


def depends(path):
    with open(path, "rb") as f:
        data = f.read()
    at = data.find(b"\0depends=")
    if at < 0:
        return []
    text = data[at + 9:data.index(b"\0", at + 9)].decode()
    return [name for name in text.split(",") if name]


def in_order(found, wanted):
    """Paths of the modules, each after those that it needs. What is not there is built into the kernel."""
    order = []

    def add(name):
        path = found.get(name.replace("-", "_"))
        if not path or path in order:
            return
        for other in depends(path):
            add(other)
        order.append(path)

    for name in wanted:
        add(name)
    return order


class Cpio:
    """The "newc" archive that the kernel unpacks as its first file system."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.inode = 0

    def add(self, name, mode, data=b""):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = "070701" + "".join(f"{n:08x}" for n in fields) + name + "\0"
        self.put(head.encode())
        self.put(data)

    def put(self, data):
        self.file.write(data + b"\0" * (-len(data) % 4))

    def close(self):
        self.add("TRAILER!!!", 0)
        self.file.close()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def build(path, modules, nqn, disks):
    archive = Cpio(path)
    order = in_order(index_modules(modules), MODULES)
    for folder in ("bin", "dev", "modules"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, read(find_busybox()))
    for module in order:
        archive.add("modules/" + os.path.basename(module), stat.S_IFREG | 0o644, read(module))
    names = "\n".join(os.path.basename(m) for m in order) + "\n"
    archive.add("modules/order", stat.S_IFREG | 0o644, names.encode())
    init = INIT.replace("@NQN@", nqn).replace("@DISKS@", " ".join(disks))
    archive.add("init", stat.S_IFREG | 0o755, init.encode())
    archive.close()


def run(args):
    why = missing(args.kernel)
    if why:
        fail(why)
    image, modules = find_kernel(args.kernel)
    initramfs = f"{args.work}/initramfs"
    disks = [f"vd{chr(ord('a') + i)}" for i in range(len(args.image))]
    build(initramfs, modules, args.nqn, disks)
    command = ["qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none",
               "-accel", args.accel, "-cpu", "qemu64", "-smp", "1", "-m", "512",
               "-kernel", image, "-initrd", initramfs,
               "-append", "console=ttyS0 tsc=reliable nosmp noapic mitigations=off panic=-1",
               "-serial", f"file:{args.work}/console",
               "-chardev", f"socket,id=say,path={args.work}/say,server=on,wait=off",
               "-serial", "chardev:say",
               "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{args.port}-:4420",
               "-device", "virtio-net-pci,netdev=net,romfile="]
    for i, what in enumerate(args.image):
        path, block = what.rsplit(":", 1)
        command += ["-drive", f"if=none,id=d{i},file={path},format=raw,discard=unmap",
                    "-device", f"virtio-blk-pci,drive=d{i},logical_block_size={block},"
                               f"physical_block_size={block}"]
    os.execvp(command[0], command)


def say(args):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(SAY_S)
        s.connect(f"{args.work}/say")
        s.sendall(args.word.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = s.recv(100)
            if not part:
                fail("the guest has gone")
            answer += part
    if answer.strip() != b"ok":
        fail(f"the guest says {answer!r}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("action", choices=["run", "say", "check"])
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--kernel", default="")
    parser.add_argument("--work")
    parser.add_argument("--port", type=int)
    parser.add_argument("--nqn")
    parser.add_argument("--accel", default="tcg")
    parser.add_argument("--image", action="append", default=[])
    args = parser.parse_intermixed_args()
    args.kernel = args.kernel.rstrip("/")
    if args.action == "check":
        why = missing(args.kernel)
        if why:
            fail(why)
    elif args.action == "run":
        run(args)
    else:
        say(args)


main()
