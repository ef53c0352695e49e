import { defineConfig } from 'vite';
import react from '@vitejs/plugin-react';

// The page is served below a path that only the server knows: it writes <base href> into index.html, so every
// reference here is relative.
export default defineConfig({
  base: './',
  plugins: [react()],
  worker: { format: 'es' },
  build: {
    outDir: 'dist',
    assetsDir: 'assets',
    sourcemap: false,
    chunkSizeWarningLimit: 8000,
    target: 'es2022',
  },
});
