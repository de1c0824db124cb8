#!/usr/bin/env bash
# Fetch a version of Swagger UI: refresh.sh 5.35.0
set -euo pipefail
version="${1:?version of swagger-ui-dist}"
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
npm pack --silent "swagger-ui-dist@$version"
tar xzf "swagger-ui-dist-$version.tgz"
cp package/{swagger-ui-bundle.js,swagger-ui-bundle.js.LICENSE.txt,swagger-ui.css,favicon-32x32.png,LICENSE,NOTICE} "$here"
# Maps of sources are not shipped: nothing may ask for them.
sed -i '/^\/\/# sourceMappingURL=/d' "$here/swagger-ui-bundle.js"
sed -i '/^\/\*# sourceMappingURL=.*\*\/$/d' "$here/swagger-ui.css"
printf '%s\n' "$version" >"$here/VERSION"
