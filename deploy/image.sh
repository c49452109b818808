#!/usr/bin/env bash
# Builds the image, starts a server in it and asks for its health.
#
# Without an engine of docker or podman: as root with buildah, on a base that debootstrap makes of Debian with its
# own Python, under the name that the Dockerfile asks for.
#
#   TAG            name of the image (archpress-server)
#   SUITE          Debian's, where the base is made here (stable)
#   BUILD_OPTIONS  further options of the build, such as --build-arg TORCH_INDEX=
set -euo pipefail
cd "$(dirname "$0")/.."

TAG=${TAG:-archpress-server}
BASE=$(awk '$1 == "FROM" { print $2; exit }' Dockerfile)
read -r -a OPTIONS <<<"${BUILD_OPTIONS:-}"
CHECK='import onnxruntime, torch, torchvision; print("torch", torch.__version__)'
READY='for _ in $(seq 60); do archpress-server health && exit 0; sleep 1; done; exit 1'

main() {
    local started=$SECONDS
    if docker info >/dev/null 2>&1; then
        with_engine docker
    elif podman info >/dev/null 2>&1; then
        with_engine podman
    else
        with_buildah
    fi
    echo "built and served in $((SECONDS - started)) s"
}

with_engine() {
    engine=$1
    "$1" build "${OPTIONS[@]}" -t "$TAG" .
    container=$("$1" run --detach --read-only --tmpfs /tmp --cap-drop ALL "$TAG")
    trap '$engine rm --force --volumes "$container" >/dev/null' EXIT
    "$1" exec "$container" python -c "$CHECK"
    "$1" exec "$container" sh -c "$READY"
    echo "health: serving, on a read-only root"
    "$1" image inspect --format 'size: {{.Size}} bytes' "$TAG"
}

with_buildah() {
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    buildah images --quiet "$BASE" >/dev/null 2>&1 || make_base
    # One layer for each stage: vfs keeps a whole copy of the file system for every layer.
    buildah build --layers=false --format docker "${OPTIONS[@]}" -t "$TAG" .
    container=$(buildah from "$TAG")
    trap 'buildah rm "$container" >/dev/null' EXIT
    buildah run "$container" -- python -c "$CHECK"
    buildah run "$container" -- \
        sh -c "archpress-server --workers 0 & trap 'kill \$!; wait' EXIT; $READY"
    echo "health: serving"
    echo "size: $(du -s --block-size=1 "$(buildah mount "$container")" | cut -f1) bytes unpacked"
}

make_base() {
    local folder container
    folder=$(mktemp -d)
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python-is-python3 \
        "${SUITE:-stable}" "$folder" >/dev/null
    rm -rf "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/*
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$folder" /
    buildah commit --quiet --rm "$container" "$BASE"
    rm -rf "$folder"
    echo "$BASE is Debian's Python here"
}

main
