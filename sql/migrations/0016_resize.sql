-- A model's manifest says how images get its size. Until now all were stretched.
update imagehub.models
   set manifest = jsonb_set(manifest, '{input,resize}',
     '{"fit": "stretch", "filter": "bilinear", "antialias": true, "shorterSide": null, "padding": 0}')
 where not manifest -> 'input' ? 'resize';
