# SPDX-License-Identifier: Apache-2.0
# models, explain and doctor, as text and as JSON.
"$CORNSTARCH" models
"$CORNSTARCH" models --format json
"$CORNSTARCH" explain data.too_long
"$CORNSTARCH" explain data.train
"$CORNSTARCH" doctor
"$CORNSTARCH" doctor --format json | python3 -c '
import json, sys
doctor = json.load(sys.stdin)
print(sorted(doctor), doctor["ref"])'
