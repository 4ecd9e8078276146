# SPDX-License-Identifier: Apache-2.0
# Stamps made by hand: a mirrored variant shares its caption and its side of
# the split, equal words are one group, pictures without words and broken
# recordings are left out and counted, two runs give the same files.
prepare=$(dirname "$CORNSTARCH")/prepare_stamps
golden=$SOURCE/tests/golden/processor
mkdir -p stamps/a/b
for name in a/cat a/cat_mirror a/b/dog a/hound a/mute; do
    cp "$golden/rgb.png" "stamps/$name.png"
done
printf 'A cat.\nfr.utf8=Un \303\251norme "chat".\nes.utf8=Un gato.\n' >stamps/a/cat.txt
printf '  A dog!\r\nfr.utf8=Un chien.\r\n' >stamps/a/b/dog.txt
printf 'a DOG\n' >stamps/a/hound.txt
printf 'fr.utf8=Sans anglais.\n' >stamps/a/mute.txt
printf 'Drawn as svg only.\n' >stamps/a/drawn.txt
cp "$golden/stereo.ogg" stamps/a/cat_desc_fr.ogg
cp "$golden/stereo.ogg" stamps/a/cat_desc_es.ogg
cp "$golden/stereo.ogg" stamps/a/b/dog_desc_ru.ogg
head -c 100 "$golden/stereo.ogg" >stamps/a/b/dog_desc_fr.ogg
"$prepare" -s stamps -o one
"$prepare" -s stamps -o two >/dev/null
diff -r one two
cat one/*.json
echo "one language each"
"$prepare" -s stamps -o three -n 1 >/dev/null
cat three/listen-*.json
"$prepare" -s stamps -o four -n 7 2>&1 || echo "exit $?"
"$prepare" -s nowhere || echo "exit $?"
