// Builds the precompiled header that all test programs reuse.
int main() { return 0; }
