#!/bin/sh
# Make the two secrets of docker-compose.yml in a directory: make_secrets.sh DIRECTORY
# What is there already stays: a new hmac_key would make every stored patient key worthless.
set -eu
umask 077
directory=${1:?usage: make_secrets.sh DIRECTORY}
mkdir -p "$directory"
chmod 700 "$directory"

for name in api_key hmac_key; do
    file=$directory/$name
    if [ -e "$file" ]; then
        echo "$file is there already and stays"
        continue
    fi
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$file.new"
    echo >> "$file.new"
    # Compose mounts the file as it is, and the service runs as user 10001.
    if [ "$(id -u)" = 0 ]; then
        chown 10001:10001 "$file.new"
        chmod 400 "$file.new"
    else
        # Nobody else on this machine gets through the directory.
        chmod 444 "$file.new"
    fi
    mv "$file.new" "$file"
    echo "$file written"
done
