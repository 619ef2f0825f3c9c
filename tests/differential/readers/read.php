<?php
// Reads JSON with PHP.
while (($line = fgets(STDIN)) !== false) {
    $value = json_decode(base64_decode(explode(' ', $line)[1] ?? ''));
    $error = json_last_error() === JSON_ERROR_NONE ? null : json_last_error_msg();
    echo $error === null ? '=' . json_encode($value, JSON_PRESERVE_ZERO_FRACTION) : '!' . json_encode($error), "\n";
}
