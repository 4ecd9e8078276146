# SPDX-License-Identifier: Apache-2.0
# What is wrong with a recipe is said with line and column, before anything
# is written.
. "$SOURCE/tests/cli/support/world.sh"
make_world
train() { fails cornstarch train "$@"; }
# edited SED: the recipe with one change.
edited() {
    sed "$1" recipe.yaml >edited.yaml
    train edited.yaml
}

edited 's/max_steps/max_step/'
edited 's/max_steps: 3/max_steps: many/'
edited 's/max_steps: 3/max_steps: 0/'
edited 's/version: 1/version: 9/'
edited 's/^version: 1//'
edited 's/placeholder: "<audio>"/placeholder: "<image>"/'
edited 's/template: plain/template: mine.jinja/'
edited 's/model_type: whisper/model_type: wav2vec/'
edited 's/hidden_size: 16/hidden_size: 15/'
edited 's/^data:/data: [/'
edited 's/^seed/seed/; s/^name: tiny/name: tiny\nname: tiny/'
train recipe.yaml training.max_stepz=3
train recipe.yaml training=3
train recipe.yaml 'data.eval[3].path=x.json'
train recipe.yaml device=cuda
train recipe.yaml checkpoint.keep_best=nothing.eval_loss
train recipe.yaml model.language_model.tokenizer=nowhere
train recipe.yaml model.language_model.tokenizer=null
train recipe.yaml model.encoders.vision.config=null model.encoders.vision.from=nowhere
train recipe.yaml 'data.train[0].path=nowhere.json'
train recipe.yaml 'data.eval[0].path=nowhere.json'
train recipe.yaml --ranks 99
train recipe.yaml --ranks 2
train nowhere.yaml
train media
: >empty.yaml
train empty.yaml
head -c 64 /bin/sh >binary.yaml
train binary.yaml
find . -path './runs/*' ! -path './runs/.index*'
