# imagehub as a container; docker-compose.yml uses it. Not built where it was written (no Docker engine there).
FROM node:24-slim

WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev
COPY . .

ENV IMAGEHUB_HOME=/tmp/imagehub
USER node
EXPOSE 9464
ENTRYPOINT ["node", "bin/imagehub.js"]
CMD ["run"]
