# SPDX-License-Identifier: Apache-2.0
# Sourced by tests of the program: a data set of 12 samples (pictures,
# recordings, text) made of the repository's own golden media, and recipe.yaml
# with a model of a few thousand parameters. Steps take milliseconds.
golden=$SOURCE/tests/golden/processor
pictures=(rgb gray palette rgba bits interlaced)

# conversation ID MEDIA PROMPT ANSWER: one sample of LLaVA's JSON.
conversation() {
    printf '{"id": "%s", %s"conversations": [{"from": "human", "value": "%s"}, {"from": "gpt", "value": "%s"}]}' "$@"
}

make_data() {
    mkdir -p media
    cp "$golden/mono16k.wav" media/tone.wav
    {
        separator='['
        for name in "${pictures[@]}"; do
            cp "$golden/$name.png" media/
            printf '%s\n' "$separator"
            conversation "$name" "\"image\": \"$name.png\", " '<image>\nWhat is it?' "A $name picture."
            separator=,
        done
        for name in one two three; do
            printf ',\n'
            conversation "$name" '"audio": "tone.wav", ' '<audio>\nWhat is said?' "A tone, $name."
        done
        printf ',\n'
        conversation both '"image": "rgb.png", "audio": "tone.wav", ' '<image><audio>\nBoth?' 'Both.'
        printf ',\n'
        conversation text1 '' 'Say yes.' 'yes'
        printf ',\n'
        conversation text2 '' 'Say no.' 'no'
        printf '\n]\n'
    } >train.json
    {
        printf '[\n'
        conversation held1 '"image": "gray16.png", ' '<image>\nWhat is it?' 'A gray16 picture.'
        printf ',\n'
        conversation held2 '"image": "palette.png", ' '<image>\nWhat is it?' 'A palette picture.'
        printf '\n]\n'
    } >heldout.json
    cp "$golden/gray16.png" media/
}

make_recipe() {
    cat >recipe.yaml <<END
version: 1
name: tiny
output_dir: runs
model:
  encoders:
    vision:
      config: {model_type: siglip_vision_model, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
               num_attention_heads: 2, image_size: 16, patch_size: 8, vision_use_head: false}
      placeholder: "<image>"
    audio:
      config: {model_type: whisper, d_model: 16, encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 32,
               num_mel_bins: 80, max_source_positions: 64}
      placeholder: "<audio>"
      pool: 4
      processor: {max_seconds: 1}
      projector: {type: linear}
  language_model:
    config: {model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2,
             num_key_value_heads: 1, vocab_size: 260, max_position_embeddings: 256, bos_token_id: 257, eos_token_id: 256}
    tokenizer: $SOURCE/examples/stamps/tokenizer
data:
  template: plain
  train:
    - {path: train.json, format: llava, media_root: media}
  eval:
    - {name: heldout, path: heldout.json, format: llava, media_root: media}
  max_length: 128
  max_tokens_per_microbatch: 128
training:
  max_steps: 3
  global_batch_size: 4
  microbatches: 2
  precision: f32
  optimizer: {learning_rate: 1.0e-2}
evaluation: {generate: 1}
logging: {trace_steps: [2]}
END
}

# needs PART...: skips the test where the program was built without a part.
needs() {
    local doctor
    doctor=$("$CORNSTARCH" doctor)
    for part in "$@"; do
        if ! grep -q "^$part *yes" <<<"$doctor"; then
            echo "skipped: this program was built without $part" >&2
            exit 77
        fi
    done
}

make_world() {
    needs png sound mel
    make_data
    make_recipe
}

# The program with one thread, so that numbers do not depend on the machine.
cornstarch() {
    "$CORNSTARCH" "$@" --threads 1
}

# losses RUN: step and loss of every line of its metrics, all digits.
losses() {
    grep -o '"step": [0-9]*\|"loss": [^,]*\|"eval_loss": [^,]*' "$1/metrics.jsonl"
}

# Runs what must fail: prints its exit status after its sentence. Whether the
# program computes with the cpu module does not matter here.
fails() {
    local status=0
    "$@" >out.txt 2>err.txt || status=$?
    sed '/ warn .*reference kernels/d' err.txt
    printf 'exit %d, %d bytes on stdout\n' "$status" "$(stat -c %s out.txt)"
}
